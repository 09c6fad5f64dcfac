"""How a trained model spells: of all splits of a word into units, the likeliest as its output layer sees units.

A model trained on one split of a word, say by a BPE that is not to be had any more, pays dearly for targets in another:
fewest units are it nearly always, but a few words in a hundred then have most of the loss.
"""

from torch import Tensor

from myna.models.tokens import TokenTable

UNIT_COST = 8.0  # nats of a unit of mean frequency; so fewer units come first
BIAS_SHARE = 0.6  # of the bias that tells how frequent a unit is
LEAST_COST = 0.1


def spelling_of(tokens: TokenTable, bias: Tensor) -> TokenTable:
    """Make the table that spells by the biases (vocabulary) of a trained output layer."""
    told = bias.detach().double().cpu()
    costs = (UNIT_COST - BIAS_SHARE * (told - told.mean())).clamp_min(LEAST_COST)
    return TokenTable(tokens.units, tokens.blank_id, costs.tolist())
