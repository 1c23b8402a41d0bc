"""Teaching a module on synthetic anomalies: steps, loop, checkpoint, selection; knows no method."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "checkpoint": ["Checkpoint"],
        "history": ["Epoch", "History"],
        "learner": ["Learner"],
        "loop": ["learn", "train"],
        "losses": ["dice_loss", "focal_loss"],
        "schedule": ["Schedule", "ScheduleKind"],
        "seeds": ["RNG", "Entropy", "draw_entropy", "seed_of"],
        "selection": ["Labelled", "Selection"],
        "steps": ["EmptyImage", "Steps", "SyntheticSteps"],
    },
)
