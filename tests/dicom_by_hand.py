"""DICOM files made by pydicom, for the tests."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
PATIENT = "Zweistein^Albertine"


def header(series="1.2.3", **elements):
    """Data elements without pixels, with what names a patient."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3.4"
    dataset.PatientName, dataset.PatientID = PATIENT, "ID-4711"
    dataset.StudyDate, dataset.PatientBirthDate = "20240131", "19330401"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", series
    dataset.Modality = "CT"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def image(array, *, stored=None, high=None, **elements):
    """A file of one frame, or of several along the first axis; integers as they are stored."""
    dataset = header(**elements)
    colour = array.ndim > 2 and array.shape[-1] == 3
    shape = array.shape[:-1] if colour else array.shape
    dataset.Rows, dataset.Columns = shape[-2:]
    if len(shape) == 3:
        dataset.NumberOfFrames = shape[0]
    bits = 8 * array.dtype.itemsize
    dataset.BitsAllocated = bits
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = elements.get("PlanarConfiguration", 0)
    if "PhotometricInterpretation" not in elements:
        dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if array.dtype.kind == "f":
        setattr(
            dataset, "FloatPixelData" if bits == 32 else "DoubleFloatPixelData", array.tobytes()
        )
        return dataset
    dataset.BitsStored = stored or bits
    dataset.HighBit = (stored or bits) - 1 if high is None else high
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    data = array.tobytes()
    dataset.PixelData = data + bytes(len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def series(volume, step=(0.0, 0.0, 2.5), origin=(-10.0, 20.0, 30.0), cosines=AXIAL, **elements):
    """Slices of a volume, one file each."""
    files = []
    for i, plane in enumerate(volume):
        position = np.array(origin) + i * np.array(step)
        files.append(
            image(
                plane,
                ImagePositionPatient=position.round(6).tolist(),
                ImageOrientationPatient=[round(c, 9) for c in cosines],
                PixelSpacing=[0.75, 0.5],
                InstanceNumber=len(volume) - i,
                **elements,
            )
        )
    return files


def save(files, folder, seed=0):
    """Write files under names that tell nothing of their order."""
    folder.mkdir(exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(files))
    paths = [folder / f"IM{k:05d}" for k in order]
    for path, file in zip(paths, files, strict=True):
        file.save_as(path, enforce_file_format=True)
    return paths
