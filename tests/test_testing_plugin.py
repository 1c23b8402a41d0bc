"""The fixture, in a pytest of its own: passes, fails with a picture and a script, and stays out of
the way.
"""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from synthmed.testing import Fault, Trial, invariants, phantom, plugin

pytest_plugins = ["pytester"]

MINE = """
from dataclasses import dataclass, replace
import numpy as np
from synthmed import EllipseMask, Source

@dataclass(frozen=True, repr=False)
class Shifted(Source):
    def _outcome(self, *call):
        outcome = super()._outcome(*call)
        return outcome and replace(outcome, mask=np.roll(outcome.mask, 1, axis=0))

def wraps(image, rng):
    return image + np.array(rng.integers(1, 100)).astype(image.dtype)
"""


@pytest.fixture
def run(pytester):
    """A pytest in a process of its own, with the plugin as it is installed."""
    pytester.makepyfile(mine=MINE)
    return lambda *arguments: pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-p", "no:xdist", *arguments
    )


def _files(output):
    return re.search(r"Picture: (\S+\.png)", output).group(1), re.search(
        r"Script:  (\S+\.py)", output
    ).group(1)


@pytest.mark.parametrize(
    ("subject", "invariant"),
    [("mine.Shifted()", "unchanged_outside_mask"), ("mine.wraps", "no_wrap_around")],
)
def test_a_failure_leaves_a_picture_and_a_script(pytester, run, subject, invariant):
    pytester.makepyfile(
        f"import mine\ndef test_it(synthmed_check):\n    synthmed_check({subject})\n"
    )
    result = run()
    result.assert_outcomes(failed=1)
    output = result.stdout.str()
    assert f"breaks {invariant!r}" in output and "Traceback" not in output
    image, script = _files(output)
    with Image.open(image) as sheet:
        sheet.load()
        assert sheet.format == "PNG" and sheet.width > 2 * sheet.height
    again = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(pytester.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert again.returncode == 1
    assert f"breaks {invariant!r}" in again.stderr


def test_what_is_right_passes(pytester, run):
    pytester.makepyfile("""
        import synthmed
        def test_generator(synthmed_check):
            report = synthmed_check(synthmed.EllipseMask(), examples=20)
            assert report.calls == 20
        def test_function(synthmed_check):
            def shuffled(image, rng):
                return rng.permutation(image)
            synthmed_check(shuffled, examples=20, without=["independent_of_memory_layout"])
    """)
    run().assert_outcomes(passed=2)


def test_without_hypothesis_pytest_still_runs_and_the_fixture_says_what_is_missing(pytester, run):
    pytester.makeconftest("import sys\nsys.modules['hypothesis'] = None\n")
    pytester.makepyfile("""
        import pytest
        def test_other():
            pass
        def test_import():
            with pytest.raises(ImportError, match=r"pip install 'synthmed\\[testing\\]'"):
                import synthmed.testing
        def test_fixture(synthmed_check):
            pass
    """)
    result = run("-p", "no:hypothesispytest")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*synthmed.testing needs Hypothesis*"])


def test_importing_synthmed_does_not_import_hypothesis():
    code = "import sys, synthmed, synthmed.pytest_plugin; assert 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "trial",
    [
        Trial(lambda image, rng: image + 1, phantom("extreme", (7, 9, 8), "float64")),
        Trial(lambda image, rng: (image, image.T), phantom("smooth", (30, 12), "int64")),
        Trial(
            lambda image, rng: image * np.nan,
            phantom("constant", (3, 9, 8), "float32", channel_axis=0),
            channel_axis=0,
        ),
        Trial(lambda image, rng: 1 / 0, phantom("noise", (1, 1))),
        Trial(lambda image, rng: image, np.random.default_rng(0).random((300, 200))),
    ],
    ids=["volume", "wrong mask", "nan", "raises", "large"],
)
def test_whatever_fails_can_be_saved(trial, tmp_path):
    try:
        _ = trial.result
        fault = Fault("shape_and_dtype_kept", trial, "for the picture")
    except Fault as raised:
        fault = raised
    image, script = plugin.save(fault, tmp_path)
    with Image.open(image) as sheet:
        assert min(sheet.size) > 0
    names = {"function": trial.function}
    if fault.invariant == "runs":
        with pytest.raises(Fault, match="ZeroDivisionError"):
            exec(script.read_text(), names)
    else:
        exec(script.read_text(), names)
        np.testing.assert_array_equal(names["trial"].image, trial.image)
        assert names["trial"].channel_axis == trial.channel_axis


def test_a_fault_tells_where_by_how_much_and_how_to_see_it_again():
    before = phantom("gradient", (8, 9), seed=3)
    after = before.copy()
    after[2, 5] -= 40
    trial = Trial(lambda image, rng: (after, np.zeros((8, 9), bool)), before, seed=11)
    with pytest.raises(Fault) as caught:
        invariants.unchanged_outside_mask(trial)
    message = str(caught.value)
    assert f"1 of 72 values, the first at (2, 5): {before[2, 5]} became {after[2, 5]}" in message
    assert "phantom('gradient', (8, 9), 'uint8', seed=3), seed=11)" in message
