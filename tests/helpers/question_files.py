"""Small files of questions and annotations in every format."""

TEN = [{"answer": "cat"}] * 7 + [{"answer": "dog"}] * 3
#: A file of each format, of one question each.
VQA = {"info": {"year": 2017}, "questions": [{"question_id": 7, "image_id": 1, "question": "what?"}]}
VQA_ANSWERS = {
    "license": {},
    "annotations": [
        {
            "question_id": 7,
            "image_id": 1,
            "question_type": "what",
            "answer_type": "other",
            "multiple_choice_answer": "cat",
            "answers": TEN,
        }
    ],
}
OK_VQA_ANSWERS = {
    "annotations": [
        {
            "question_id": 7,
            "image_id": 1,
            "question_type": "eight",
            "answer_type": "other",
            "confidence": 3,
            "answers": [{"answer_id": n, "raw_answer": "cats", **a} for n, a in enumerate(TEN)],
        }
    ]
}
TEXTVQA = {
    "dataset_name": "textvqa",
    "data": [
        {
            "question": "what?",
            "image_id": "0054c91397f2fe05",
            "question_id": 3,
            "answers": ["cat"] * 7 + ["dog"] * 3,
            "set_name": "train",
        }
    ],
}
VIZWIZ = [
    {
        "image": "VizWiz_train_00000000.jpg",
        "question": "what?",
        "answers": [{"answer_confidence": "yes", **a} for a in TEN],
        "answer_type": "other",
        "answerable": 1,
    }
]
GQA = {
    "02930152": {
        "imageId": "2354786",
        "question": "Is it?",
        "answer": "yes",
        "fullAnswer": "Yes, it is.",
        "isBalanced": True,
        "types": {"structural": "verify", "semantic": "attr", "detailed": "verifyAttr"},
    }
}
TEXT_ID_VQA = {"questions": [VQA["questions"][0] | {"question_id": "VizWiz_val_1"}]}
TEXT_ID_VQA_ANSWERS = {"annotations": [VQA_ANSWERS["annotations"][0] | {"question_id": "VizWiz_val_1"}]}

#: Images of Visual Genome, of which the second is not in COCO.
GENOME_IMAGES = [
    {"image_id": n, "width": 9, "height": 9, "url": f"https://x/VG/{n}.jpg", "coco_id": coco}
    for n, coco in ((1, 100), (2, None), (3, 300))
]


def genome_question(
    qa_id: int, image_id: int, answer: object, question: str = "What is it?"
) -> dict[str, object]:
    """Return a question of Visual Genome."""
    return {"qa_id": qa_id, "image_id": image_id, "question": question, "answer": answer}
