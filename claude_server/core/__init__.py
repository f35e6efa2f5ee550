"""The neutral core: what a turn is, how it can fail, who may run when, and the pipeline that runs it."""
