"""The commands and what each does, in the order in which a newcomer meets them."""

COMMANDS = {
    "quickstart": "the whole way on synthetic scenes, ending in a page: out=DIR",
    "scenes": "write the synthetic data set in the formats of COCO, VQA v2 and Visual Genome: out=DIR",
    "extract": "region features of photographs: images=DIR_OR_LIST_OR_COCO_JSON out=F.h5",
    "detect": "name what is in photographs, as JSON and as pictures: images=PHOTO_OR_DIR out=DIR",
    "features_info": "what a feature file holds (bua features info): file=F.h5",
    "features_check": "find what is damaged in a feature file (bua features check): file=F.h5",
    "features_import": "read a feature file of others: format=NAME source=FILE_OR_FOLDER out=F.h5",
    "features_export": "write a feature file as others do: format=NAME file=F.h5 out=FILE_OR_FOLDER",
    "features_merge": "join feature files of one detector: files=[a.h5,b.h5] out=F.h5",
    "captions_check": "find what is wrong with a file of captions (bua captions check): file=F.json",
    "captions_constraints": "what a detector saw, as words that captions must say: features=F.h5 out=C.json",
    "questions_check": "find what is wrong with a file of questions (bua questions check): file=F.json",
    "genome": "Visual Genome to boxes for training a detector: source=DIR out=DIR karpathy=F.json",
    "train": "train a captioner, a VQA model or a detector: experiment=NAME",
    "predict": "captions or answers of a data set in the official result format: run=DIR out=P.json",
    "evaluate": "how precise a detector is: instances=F.json images=DIR evaluation=coco|genome",
    "score": "the official numbers: task=caption|vqa predictions=P.json ...",
    "submit": "check predictions, write them for a test server: task=caption|vqa predictions=P.json out=F",
    "caption": "describe photographs: run=DIR images=PHOTO_OR_DIR",
    "ask": "answer a question about photographs: run=DIR images=PHOTO_OR_DIR question=TEXT",
    "ship": "make a trained detector into a file that extract can use: run=DIR out=F.safetensors",
    "doctor": "what this machine has: torch, devices, Java, free space",
}

#: First words of commands of two words.
FAMILIES = frozenset(name.partition("_")[0] for name in COMMANDS if "_" in name)


def usage(only: str = "") -> str:
    """Return the help text of ``bua`` itself, or of the commands that begin with a word."""
    width = max(map(len, COMMANDS)) + 2
    shown = {name: text for name, text in COMMANDS.items() if name.startswith(only)}
    lines = [f"  {name.replace('_', ' '):{width}}{text}" for name, text in shown.items()]
    return "\n".join(
        [
            "usage: bua COMMAND key=value ...",
            "",
            "Bottom-up attention: from photographs to regions to captions and answers.",
            "",
            *lines,
            "",
            "bua COMMAND --cfg job   shows every key of a command and its value",
            "bua COMMAND --help      shows the groups to choose from",
            "BUA_TRACEBACK=1         shows where a mistake was noticed",
        ]
    )
