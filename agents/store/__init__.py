"""A store of everything an agent has seen, and the way in for sequences from elsewhere."""

from agents.store.offers import Refused, offer
from agents.store.store import Origin, Store, StoreSettings, make_store, rank_probabilities

__all__ = ["Origin", "Refused", "Store", "StoreSettings", "make_store", "offer", "rank_probabilities"]
