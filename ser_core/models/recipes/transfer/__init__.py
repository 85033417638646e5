"""Recipe `transfer`: a bundle of recipe `calls` fitted to few labels.

The classifier of a trained bundle is fitted again, with a penalty on how far its weights move from
where they were. The penalty is chosen by cross-validation over speakers. "The labels do not help"
is a possible result: then the weights stay as they are.

Read on in `recipe` (options and training), `start` (the bundle to start from) and `measures` (the
figures of the card).
"""
