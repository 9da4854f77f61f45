"""`verify RUN --submit FILE --task T`: adversarial images of somebody else's attack are scored and kept with the run."""

from benchmark.commands.verify.submit.target import SubmissionTarget, open_target

__all__ = ["SubmissionTarget", "open_target"]
