"""Recipe `calls`: small networks over `telephone` features, for voices and lines not heard before.

Several networks are averaged: dense ones over the functionals (some with the thirds), and a
convolutional one over the picture. Each is trained on copies of every clip (`conditions.COPIES`),
on all corpora at once with a softmax for each corpus' emotions, and with histories: what is known
of a channel from its other segments.

**The channel normaliser.** A segment's features are z-scored by those of the channel's other
segments. With n of them, their mean and variance count n / (n + 4), the training speakers' the
rest; that weight is an input. Trained on histories of any size and mood, also one-sided ones,
since a caller may be angry throughout. (Speaker normalisation: C. Busso et al. 2013, "Iterative
feature normalization scheme for automatic emotion detection from speech", IEEE Trans. Affective
Computing 4(4), 386-397.)
"""
