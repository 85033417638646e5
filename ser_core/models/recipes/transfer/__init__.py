"""Recipe `transfer`: starts from a bundle of recipe `calls`, for few labels of one's own.

The bundle's networks stay as they are but for the last layer of each, which is fitted to the labels
with an L2 penalty towards its starting weights. The fewer the labels tell, the larger the penalty:
it is chosen by cross-validation over speakers, and may leave the layers as they were.

The penalty is L2-SP: X. Li, Y. Grandvalet and F. Davoine 2018, "Explicit inductive bias for
transfer learning with convolutional networks", ICML. Why only the last layer: J. Yosinski et al.
2014, "How transferable are features in deep neural networks?", NeurIPS.

The figures of a card come from last layers that were fitted without the speaker's fold.
"""
