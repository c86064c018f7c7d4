"""Values that tests plant in answers, and look for where none of them should be."""

import base64
import json


class Planted:
    """The values of a file: a JSON list of base64, or nothing at all."""

    def __init__(self, values):
        self._values = values

    @classmethod
    def read(cls, path):
        if path is None:
            return cls([])
        with open(path, encoding="ascii") as file:
            return cls([base64.b64decode(value) for value in json.load(file)])

    @property
    def instructions(self):
        """The value that is in what the server says of itself: the first, whatever it is about."""
        return [0] if self._values else []

    def raw(self, number):
        return self._values[number]

    def text(self, number):
        """As text: what is no UTF-8 is not for texts."""
        return self._values[number].decode("utf-8", "replace")

    def passage(self, numbers):
        """Prose with these values in it, a line each."""
        return "\n".join(["The weather is fine.", *(self.text(number) for number in numbers)])

    def records(self, numbers):
        """Objects with these values under names that say what they are."""
        names = ["password", "apiToken", "client_secret", "privateKey"]
        return [
            {"user": f"user-{number}", "attempts": number, "active": True, names[number % len(names)]: self.text(number)}
            for number in numbers
        ]
