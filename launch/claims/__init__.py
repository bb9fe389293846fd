"""Claims: a paper's statements as experiments that run.

reading: claims.yaml, checked. expectation: the relation that must hold. arms: one variant with one seed and
its folder. run_arms: their processes. measure: a finished run, in a process of its own. results: verdicts,
JSON and the table of the recipe's README.
"""
