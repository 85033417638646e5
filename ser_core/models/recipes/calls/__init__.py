"""Recipe `calls`: a linear classifier for voices, rooms, languages and lines it has not heard.

What holds outside the training's corpora was looked for, not what is best inside one of them
(docs/accuracy.md, "Trials"):

- Features of a pretrained speech encoder (`voice`), or of the cheap `telephone` set.
- **Every corpus by its own normal.** The vectors of a corpus are standardised with the mean and the
  standard deviation of that corpus, under each line. An archive of calls is standardised with its
  own in turn (`Bundle.adapted`), or with the corpora's mean until then.
- One label space. The labels of the first corpus; those that another corpus lacks are masked there.
- Corpora count alike, whatever their size, and so do the labels in each.
- Copies of each clip under other lines and noises (`ser_core.conditions`), which count little: more
  of them hold better on bad lines, and worse on good ones.
- Vectors of one length (`data.head_input`), so that what is far from the training is not taken for
  certain.

Read on in `recipe` (options and training), `data` (what is trained and tested on), `head` (the
classifier) and `measures` (the figures of the card).
"""
