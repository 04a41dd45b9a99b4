"""Options of Lightning's trainer that bua sets in another place."""

#: Options of the trainer that belong elsewhere, with what to say.
ELSEWHERE = {
    "logger": "choose loggers with logger=NAME: csv, tensorboard, wandb, mlflow, or several as [NAME,NAME]",
    "callbacks": "give callbacks with +callbacks.NAME._target_=CLASS, and remove one with ~callbacks.NAME",
    "plugins": "is determined by the run; leave it out",
    "default_root_dir": "choose the run directory with out=DIR",
    "enable_checkpointing": "remove the checkpoints with ~callbacks.best or ~callbacks.last",
    "enable_progress_bar": "remove the progress bar with ~callbacks.progress",
}
