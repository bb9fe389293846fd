"""Text as its bytes."""


class ByteTokenizer:
    """UTF-8 bytes are their own ids; 256, 257 and 258 are bos, eos and pad.

    Every text makes the round trip. Half of a surrogate pair, which is no text, is encoded as a question
    mark; bytes that are no UTF-8 are decoded as the replacement character.
    """

    vocabulary_size = 259
    bos, eos, pad = 256, 257, 258

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8", errors="replace"))

    def decode(self, ids: list[int]) -> str:
        return bytes(i for i in ids if 0 <= i < 256).decode("utf-8", errors="replace")
