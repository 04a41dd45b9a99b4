"""Caption files in every supported format, and a validator of them.

The format is recognized from the keys in the file, or from its first line.

COCO captions and nocaps. The images of nocaps also have a ``domain`` and an ``open_images_id``. Files of
images alone, as for a test split, have no ``annotations``.

::

    {"images": [{"id": 42, "file_name": "000000000042.jpg"}, ...],
     "annotations": [{"id": 641613, "image_id": 42, "caption": "A cat on a bed."}, ...]}

Karpathy's ``dataset_coco.json``, ``dataset_flickr8k.json`` and ``dataset_flickr30k.json``. The splits are
train, restval, val and test; what papers call Karpathy's train split is train plus restval. The id of an
image is its ``cocoid``, or its ``imgid`` in the files of Flickr, which have no ``cocoid`` and no
``filepath``. The ``tokens`` are the output of the tokenizer ``karpathy`` for ``raw`` and are not read.

::

    {"images": [{"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "imgid": 0,
                 "cocoid": 391895, "split": "test",
                 "sentences": [{"raw": "A man on a bike.", "tokens": [...], "sentid": 770337}, ...]}, ...]}

Plain JSON: captions by image, a list of captions (also the format of predictions), or a list of images with
their captions. If an entry has both ``image_id`` and ``image``, the former is the id and the latter the name
of the image file.

::

    {"42": "A cat on a bed.", "43": ["A dog.", "A dog runs."]}
    [{"image_id": 42, "caption": "A cat on a bed."}, {"image_id": 42, "caption": "A cat."}]
    [{"image": "cats/tom.jpg", "captions": ["A cat on a bed.", "A cat."]}]

The token files of Flickr8k and Flickr30k, whose columns are separated by a tab, and CSV files with a header,
such as Kaggle's ``captions.txt`` and ``results.csv``. The id of an image is its file name. The lists that
Flickr8k ships (``Flickr_8k.trainImages.txt``) are lists of these ids.

::

    1000268201_693b08cb0e.jpg#0	A child in a pink dress is climbing up a set of stairs .

    image,caption
    1000268201_693b08cb0e.jpg,"A child, in a pink dress, is climbing stairs ."
"""

from bua.data.captions.files.caption_file import CaptionFile, read_caption_file, read_captions, select_images

__all__ = ["CaptionFile", "read_caption_file", "read_captions", "select_images"]
