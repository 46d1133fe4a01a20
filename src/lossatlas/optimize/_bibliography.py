"""BibTeX of the published rules, by key: what `lossatlas.citation` prints."""

from __future__ import annotations

bibliography: dict[str, str] = {
    "cauchy1847": r"""@article{cauchy1847,
  author = {Cauchy, Augustin-Louis},
  title = {M{\'e}thode g{\'e}n{\'e}rale pour la r{\'e}solution des syst{\`e}mes d'{\'e}quations simultan{\'e}es},
  journal = {Comptes Rendus de l'Acad{\'e}mie des Sciences},
  volume = {25},
  pages = {536--538},
  year = {1847}
}""",
    "kingma2015": r"""@inproceedings{kingma2015,
  author = {Kingma, Diederik P. and Ba, Jimmy},
  title = {Adam: A Method for Stochastic Optimization},
  booktitle = {ICLR},
  year = {2015}
}""",
    "kirkpatrick1983": r"""@article{kirkpatrick1983,
  author = {Kirkpatrick, S. and Gelatt, C. D. and Vecchi, M. P.},
  title = {Optimization by Simulated Annealing},
  journal = {Science},
  volume = {220},
  pages = {671--680},
  year = {1983}
}""",
    "loshchilov2019": r"""@inproceedings{loshchilov2019,
  author = {Loshchilov, Ilya and Hutter, Frank},
  title = {Decoupled Weight Decay Regularization},
  booktitle = {ICLR},
  year = {2019}
}""",
    "nesterov1983": r"""@article{nesterov1983,
  author = {Nesterov, Yurii},
  title = {A method for solving the convex programming problem with convergence rate O(1/k^2)},
  journal = {Doklady Akademii Nauk SSSR},
  volume = {269},
  pages = {543--547},
  year = {1983}
}""",
    "polyak1964": r"""@article{polyak1964,
  author = {Polyak, Boris T.},
  title = {Some methods of speeding up the convergence of iteration methods},
  journal = {USSR Computational Mathematics and Mathematical Physics},
  volume = {4},
  number = {5},
  pages = {1--17},
  year = {1964}
}""",
    "russell2020": r"""@book{russell2020,
  author = {Russell, Stuart and Norvig, Peter},
  title = {Artificial Intelligence: A Modern Approach},
  edition = {4},
  publisher = {Pearson},
  year = {2020}
}""",
    "tieleman2012": r"""@misc{tieleman2012,
  author = {Tieleman, Tijmen and Hinton, Geoffrey},
  title = {Lecture 6.5: RMSProp},
  howpublished = {COURSERA: Neural Networks for Machine Learning},
  year = {2012}
}""",
}
