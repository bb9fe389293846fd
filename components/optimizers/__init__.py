"""Optimisers by bare name; all are torch's own.

| name | what it is |
|---|---|
| adam | Adam, no weight decay |
| adamw | Adam with decoupled weight decay |
| sgd | stochastic gradient descent with momentum |
"""
