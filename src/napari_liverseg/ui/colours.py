"""One pair of colours for liver and tumour, another for the truth, everywhere.

Okabe and Ito's palette, which readers with any colour vision tell apart
(https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

LIVER = "#56B4E9"
TUMOUR = "#E69F00"
TRUTH_LIVER = "#009E73"
TRUTH_TUMOUR = "#CC79A7"
