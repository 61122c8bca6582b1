"""Vicuna's prompt, version 1, as LLaVA-1.5 was trained with it (haotian-liu/LLaVA, ``conv_vicuna_v1``).

``SYSTEM USER: <image>`` and a line break, the question, `` ASSISTANT:``; an answer ends with the end token.
"""

from anymal_eval.anymal.conversation import MARKER

_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
_IMAGE = MARKER.format("image")

TEMPLATE = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + ' ' }}"
    f'{{% else %}}{{{{ "{_SYSTEM} " }}}}{{% endif %}}'
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    # one line break after a picture, whatever the protocol writes there
    f"{{{{ 'USER: ' + message['content'].replace('{_IMAGE}', '{_IMAGE}\\n')"
    f".replace('{_IMAGE}\\n\\n', '{_IMAGE}\\n') + ' ' }}}}"
    "{% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
