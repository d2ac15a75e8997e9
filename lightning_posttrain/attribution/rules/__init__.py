"""Methods that replace the gradient of some functions by another one."""

from lightning_posttrain.attribution.rules.attention import attention_rollout, gradient_rollout
from lightning_posttrain.attribution.rules.base import slow_attention
from lightning_posttrain.attribution.rules.deep_lift import deep_lift
from lightning_posttrain.attribution.rules.guided import guided_backprop
from lightning_posttrain.attribution.rules.lrp import lrp

__all__ = ["attention_rollout", "deep_lift", "gradient_rollout", "guided_backprop", "lrp", "slow_attention"]
