"""Recipe `calls`: small networks over `telephone` features, for new voices and telephone lines.

Several networks are averaged: dense ones over the functionals (some with the thirds), and a
convolutional and a recurrent one over the picture. Each is trained on copies of every clip
(`conditions.COPIES`), on all corpora at once with a softmax for each corpus' emotions, and with
histories: other segments of the same channel.

**The channel normaliser.** A segment's features are z-scored with the mean and variance of the
channel's other segments. With n of them, these moments weigh n / (n + 4), and those of the training
speakers the rest. The weight is an input of the networks. They are trained on histories of any size
and mood, including one-sided ones, since a caller may be angry throughout. (Speaker normalisation:
C. Busso et al. 2013, "Iterative feature normalization scheme for automatic emotion detection from
speech", IEEE Trans. Affective Computing 4(4), 386-397.)

Read on in `recipe` (options and training), `data` (what is trained and tested on), `ensemble` (the
networks, fold by fold) and `measures` (the figures of the card).
"""
