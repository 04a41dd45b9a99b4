"""The commands and what each does, in the order in which a newcomer meets them."""

#: What each command does; a command of two words belongs to the family of its first.
COMMANDS = {
    "quickstart": "all steps on synthetic scenes, from images to a report: out=DIR",
    "scenes": "write the synthetic data set in the formats of COCO, VQA v2 and Visual Genome: out=DIR",
    "extract": "extract region features of images: images=DIR_OR_LIST_OR_COCO_JSON out=F.h5",
    "detect": "detect objects in images, as JSON and as pictures: images=PHOTO_OR_DIR out=DIR",
    "features info": "describe a feature store: file=F.h5",
    "features check": "find damage in a feature store: file=F.h5",
    "features import": "convert a feature file of another project: format=NAME source=PATH out=F.h5",
    "features export": "convert to the format of another project: format=NAME file=F.h5 out=PATH",
    "features merge": "merge feature stores of one detector: files=[a.h5,b.h5] out=F.h5",
    "captions check": "find mistakes in a caption file: file=F.json",
    "captions constraints": "write detected objects as words for captions: features=F.h5 out=C.json",
    "questions check": "find mistakes in a file of questions: file=F.json",
    "prepare-vg": "convert Visual Genome for training a detector: source=DIR out=DIR captions=F.json",
    "train": "train a captioner, a VQA model or a detector: experiment=NAME",
    "predict": "predict captions or answers of a data set in the official format: run=DIR out=P.json",
    "evaluate": "compute the average precision of a detector: instances=F.json images=DIR",
    "score": "compute the official scores of predictions: task=caption|vqa predictions=P.json ...",
    "submit": "check predictions and write them for a test server: task=caption|vqa predictions=P.json out=F",
    "caption": "describe images: run=DIR images=PHOTO_OR_DIR",
    "ask": "answer a question about images: run=DIR images=PHOTO_OR_DIR question=TEXT",
    "export-detector": "export a trained detector for bua extract: run=DIR out=F.safetensors",
    "doctor": "show what this machine has: torch, devices, Java, free space",
}

#: First words of the commands of two words.
FAMILIES = frozenset(command.partition(" ")[0] for command in COMMANDS if " " in command)


def config_name(command: str) -> str:
    """Return the name of a command's configuration, which is also that of its module."""
    return command.replace(" ", "_").replace("-", "_")


def usage(family: str = "") -> str:
    """Return the help text of ``bua``, or of the commands of one family."""
    width = max(map(len, COMMANDS)) + 2
    shown = {name: text for name, text in COMMANDS.items() if not family or name.split()[0] == family}
    return "\n".join(
        [
            "usage: bua COMMAND key=value ...",
            "",
            "Bottom-up attention: from images to regions to captions and answers.",
            "",
            *(f"  {name:{width}}{text}" for name, text in shown.items()),
            "",
            "bua COMMAND --cfg job   shows every key of a command and its value",
            "bua COMMAND --help      shows the groups to choose from",
            "BUA_TRACEBACK=1         shows where a mistake was noticed",
        ]
    )
