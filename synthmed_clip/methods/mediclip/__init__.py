"""MediCLIP: adapters and prompts on a frozen CLIP, taught by synthetic anomalies."""

from synthmed_clip.methods.mediclip.method import MediCLIP

__all__ = ["MediCLIP"]
