"""Objectives: what training minimises.

| name | from | memory | paper |
|---|---|---|---|
| linear_cross_entropy | features, a head's weights, target ids | one chunk of logits | - |
| flow_matching | predicted and true velocities, noise levels | an error an element | rectified flow |
"""
