"""verify --submit: adversarial images made elsewhere, scored and kept with a run."""
