"""JSON Schema of the types that handlers name: never narrower than what their decoder takes, and seldom wider.

msgspec's own generator leaves out formats and the types of keys, and asks for unique items where the decoder does not.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import inspect as kinds

Schema = dict[str, Any]
NOTHING: Schema = {"not": {}}
"""of what only a default can fill"""
BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
INTEGER_KEY = "^-?(0|[1-9][0-9]*)$"
_NUMBER_WORDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "multiple_of": "multipleOf"}
_FIXED: dict[type[kinds.Type], Schema] = {
    kinds.AnyType: {},
    kinds.RawType: {},
    kinds.NoneType: {"type": "null"},
    kinds.BoolType: {"type": "boolean"},
    kinds.DateTimeType: {"type": "string", "format": "date-time"},
    kinds.DateType: {"type": "string", "format": "date"},
    kinds.TimeType: {"type": "string", "format": "time"},
    kinds.TimeDeltaType: {"type": "string", "format": "duration"},
    kinds.UUIDType: {"type": "string", "format": "uuid"},
    kinds.DecimalType: {"type": ["number", "string"], "format": "decimal"},
}
_WITH_FIELDS = (kinds.StructType, kinds.DataclassType, kinds.TypedDictType, kinds.NamedTupleType)
_BYTES = (kinds.BytesType, kinds.ByteArrayType, kinds.MemoryViewType)
_NUMBERS = (kinds.IntType, kinds.FloatType)
_SETS = (kinds.SetType, kinds.FrozenSetType)


_DATA = ("enum", "const", "default", "examples")
_BY_NAME = ("properties", "$defs", "patternProperties")


def rewritten(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """A schema with every schema inside it changed, the inner ones first."""
    if isinstance(schema, list):
        return [rewritten(one, change) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: Schema = {}
    for word, value in schema.items():
        if word in _BY_NAME and isinstance(value, dict):
            found[word] = {name: rewritten(one, change) for name, one in value.items()}
        else:
            found[word] = value if word in _DATA else rewritten(value, change)
    return change(found)


class SchemaWriter:
    """Writes the schemas of one signature, which share their parts.

    Args:
        custom: the schema of a class that msgspec does not know; raises TypeError when nothing makes one of JSON.
    """

    def __init__(self, custom: Callable[[Any, SchemaWriter], Schema]) -> None:
        self.parts: dict[str, Schema] = {}
        """by name, for ``$defs``"""
        self._custom = custom
        self._names: dict[Any, str] = {}

    def write(self, kind: Any) -> Schema:
        """The schema of one type.

        Raises:
            TypeError: no JSON can be turned into it.
        """
        return self._of(kinds.type_info(kind))

    def name(self, wanted: str) -> str:
        """A name that no part has yet."""
        name, count = wanted, 1
        while name in self.parts:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def takes_objects(self, schema: Schema, seen: frozenset[str] = frozenset()) -> bool:
        """Whether an object may be a value of this schema."""
        if (name := schema.get("$ref", "").rpartition("/")[2]) and name not in seen:
            return self.takes_objects(self.parts.get(name, {}), seen | {name})
        if "anyOf" in schema:
            return any(self.takes_objects(one, seen) for one in schema["anyOf"])
        return "object" in schema.get("type", "object") and not schema.keys() & {"enum", "const", "not"}

    def _of(self, info: kinds.Type) -> Schema:
        extra: Schema = {}
        while isinstance(info, kinds.Metadata):
            extra = {**(info.extra_json_schema or {}), **extra}
            info = info.type
        return {**extra, **self._bare(info)}

    def _bare(self, info: Any) -> Schema:
        if type(info) in _FIXED:
            return dict(_FIXED[type(info)])
        if isinstance(info, _NUMBERS):
            return _number(info)
        if isinstance(info, (kinds.StrType, *_BYTES)):
            return _text(info)
        if isinstance(info, (kinds.CollectionType, kinds.TupleType)):
            return self._array(info)
        return self._compound(info)

    def _compound(self, info: Any) -> Schema:
        if isinstance(info, kinds.LiteralType):
            return {"enum": list(info.values)}
        if isinstance(info, kinds.UnionType):
            return {"anyOf": [{**self._of(one), **_tag_needed(one)} for one in info.types]}
        if hasattr(info, "key_type"):
            return self._mapping(info)
        if isinstance(info, (*_WITH_FIELDS, kinds.EnumType)):
            return {"$ref": f"#/$defs/{self._part(info)}"}
        if isinstance(info, kinds.CustomType):
            return self._custom(info.cls, self)
        raise TypeError(f"no JSON is a {type(info).__name__.removesuffix('Type')}")

    def _array(self, info: Any) -> Schema:
        if isinstance(info, kinds.TupleType):
            size, first = len(info.item_types), [self._of(one) for one in info.item_types]
            return {"type": "array", "minItems": size, "maxItems": size, **({"prefixItems": first, "items": False} if first else {})}
        lengths = _lengths(info, "Items")
        if isinstance(info, _SETS):
            lengths.pop("maxItems", None)  # repeated items count once
        items = self._of(info.item_type)
        return {"type": "array", **({"items": items} if items else {}), **lengths}

    def _mapping(self, info: Any) -> Schema:
        keys, values = self._keys(info.key_type), self._of(info.value_type)
        return {
            "type": "object",
            **({"propertyNames": keys} if keys else {}),
            **({"additionalProperties": values} if values else {}),
            **_lengths(info, "Properties"),
        }

    def _keys(self, info: Any) -> Schema:
        """What the keys of an object must be, which are always strings."""
        while isinstance(info, kinds.Metadata):
            info = info.type
        if isinstance(info, kinds.IntType):
            return {"pattern": INTEGER_KEY}
        if isinstance(info, (kinds.BoolType, kinds.NoneType, kinds.CollectionType, kinds.TupleType, *_WITH_FIELDS)):
            raise TypeError("the keys of a JSON object are strings; name a type of key that a string can be")
        if isinstance(info, (kinds.StrType, *_BYTES, kinds.DateTimeType, kinds.DateType, kinds.TimeType, kinds.UUIDType)):
            return {word: value for word, value in self._bare(info).items() if word not in {"type", "contentEncoding"}}
        if isinstance(info, kinds.LiteralType):
            return {"enum": [str(one) for one in info.values]}
        if isinstance(info, kinds.EnumType) and not (_finds_missing(info.cls) or issubclass(info.cls, enum.Flag)):
            return {"enum": [str(one.value) for one in info.cls]}
        return {}

    def _part(self, info: Any) -> str:
        name = self._names.get(info.cls)
        if name is None:
            name = self._names[info.cls] = self.name(_name_of(info.cls))
            self.parts[name] = {}  # so that a type within itself ends
            self.parts[name] = {"title": name, **_described(info.cls), **self._whole(info)}
        return name

    def _whole(self, info: Any) -> Schema:
        if isinstance(info, kinds.EnumType):
            values = [one.value for one in info.cls]
            if issubclass(info.cls, enum.Flag):
                return {"type": "integer"}  # combinations too
            return {} if _finds_missing(info.cls) else {"enum": values}
        required = [one.encode_name for one in info.fields if one.required]
        fields = {one.encode_name: self._field(one) for one in info.fields}
        if isinstance(info, kinds.NamedTupleType) or getattr(info, "array_like", False):
            return self._fields_in_order(info, list(fields.values()), len(required))
        tag = getattr(info, "tag_field", None)
        if tag is not None:
            fields[tag] = {"enum": [info.tag]}
        closed = {"additionalProperties": False} if getattr(info, "forbid_unknown_fields", False) else {}
        return {"type": "object", "properties": fields, "required": required, **closed}

    def _fields_in_order(self, info: Any, fields: Sequence[Schema], required: int) -> Schema:
        tag = getattr(info, "tag", None)
        first = [{"enum": [tag]}] if tag is not None else []
        closed = isinstance(info, kinds.NamedTupleType) or info.forbid_unknown_fields
        most = {"maxItems": len(first) + len(fields)} if closed else {}
        return {"type": "array", "prefixItems": [*first, *fields], "minItems": len(first) + required, **most}

    def _field(self, field: kinds.Field) -> Schema:
        try:
            schema = self._of(field.type)
        except TypeError:
            if field.required:
                raise
            return dict(NOTHING)
        default = field.default
        if not field.required and isinstance(default, (str, int, float, bool, type(None))):
            schema["default"] = default
        return schema


def _tag_needed(info: Any) -> Schema:
    """Among others a tagged Struct needs its tag."""
    while isinstance(info, kinds.Metadata):
        info = info.type
    is_tagged = isinstance(info, kinds.StructType) and info.tag_field is not None and not info.array_like
    return {"required": [info.tag_field]} if is_tagged else {}


def _number(info: Any) -> Schema:
    limits = {word: limit for field, word in _NUMBER_WORDS.items() if (limit := getattr(info, field)) is not None}
    return {"type": "integer" if isinstance(info, kinds.IntType) else "number", **limits}


def _text(info: Any) -> Schema:
    if isinstance(info, _BYTES):
        sizes = {word: 4 * ((limit + 2) // 3) for word, limit in _lengths(info, "Length").items()}
        return {"type": "string", "contentEncoding": "base64", "pattern": BASE64, **sizes}
    return {"type": "string", **_lengths(info, "Length"), **({"pattern": info.pattern} if info.pattern else {})}


def _lengths(info: Any, what: str) -> Schema:
    limits = {"min": info.min_length, "max": info.max_length}
    return {f"{end}{what}": limit for end, limit in limits.items() if limit is not None}


def _name_of(cls: Any) -> str:
    return str(getattr(cls, "__name__", None) or getattr(getattr(cls, "__origin__", cls), "__name__", "Part"))


def _finds_missing(cls: type[enum.Enum]) -> bool:
    """Whether an enumeration takes values that are none of its own."""
    return any("_missing_" in vars(one) for one in cls.__mro__ if one.__module__ != "enum")


def _described(cls: Any) -> Schema:
    doc = vars(getattr(cls, "__origin__", cls)).get("__doc__")
    if not isinstance(doc, str) or doc.startswith((f"{_name_of(cls)}(", "An enumeration.")):
        return {}
    return {"description": " ".join(doc.split())}
