"""Speech emotion recognition on call recordings: audio, speech, features, models, tables.

Arrays, models and tables only: nothing here imports Apache Beam, and TensorFlow
is imported only where a model is loaded or trained.
"""

__version__ = "0.2.0"
