"""Pictures as the features of this field are made of them: 256 x 340 pixels, of which crops of 224 x 224 are encoded.

Shapes: N pictures, C crops.
"""

import numpy as np

SIZE = (256, 340)  # height, width that frames are resized to, aspect not kept, as VadCLIP's
CROP = 224
CROPS = 10  # 0 centre; 1 to 4 top left, top right, bottom left, bottom right; 5 to 9 the mirror images of 0 to 4


def crops_of(pictures: np.ndarray, n_crops: int) -> np.ndarray:
    """The first `n_crops` crops of pictures (N, 256, 340, 3): (N, C, 224, 224, 3), a view where there is one crop.

    Raises ValueError where there are no such crops.
    """
    if not 1 <= n_crops <= CROPS:
        raise ValueError(f"{n_crops} crops: a picture has 1 (the centre) to {CROPS}")
    assert pictures.shape[1:] == (*SIZE, 3), pictures.shape
    bottom, right = SIZE[0] - CROP, SIZE[1] - CROP
    corners = [(bottom // 2, right // 2), (0, 0), (0, right), (bottom, 0), (bottom, right)]
    plain = [pictures[:, y : y + CROP, x : x + CROP] for y, x in corners]
    if n_crops == 1:
        return plain[0][:, None]
    return np.stack([*plain, *(crop[:, :, ::-1] for crop in plain)][:n_crops], axis=1)
