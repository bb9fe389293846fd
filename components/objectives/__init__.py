"""Objectives: what training minimises.

| name | from | memory | paper |
|---|---|---|---|
| linear_cross_entropy | features, a head's weights, target ids | one chunk of logits | - |
"""
