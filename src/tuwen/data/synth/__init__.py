"""Pictures drawn from scene graphs, with every question and answer derived from what was drawn."""

from tuwen.data.synth.balance import chance
from tuwen.data.synth.base import SUITES, Drawn, Suite, SuiteSettings
from tuwen.data.synth.synthesiser import SynthConfig, Synthesiser

__all__ = ["SUITES", "Drawn", "Suite", "SuiteSettings", "SynthConfig", "Synthesiser", "chance"]
