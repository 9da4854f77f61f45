"""Running: jobs are executed, the classifiers that they learned attacked, and the outcomes recorded."""
