"""Perturbation audits: what collapses, how soon performance recovers, and three claims put to the test."""

from trajhmm.dynamics.stability.audit.audit import Audit, audit
from trajhmm.dynamics.stability.audit.claims import Claim
from trajhmm.dynamics.stability.audit.pairing import Columns

__all__ = ["Audit", "Claim", "Columns", "audit"]
