"""Arrow types with others in their place, at any depth: texts as bytes, views as plain columns."""

from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa

_PLAIN: Final = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


def replaced(type_: pa.DataType, leaves: Mapping[pa.DataType, pa.DataType]) -> pa.DataType:
    """Return a type with each of its leaves replaced; views of lists become lists.

    Raises `pyarrow.ArrowInvalid` for lists of a size that none can have, which damaged files name.
    """
    if type_ in leaves:
        return leaves[type_]
    if pa.types.is_struct(type_):
        return pa.struct([_of_field(field, leaves) for field in type_])
    if pa.types.is_map(type_):
        inner = replaced(type_.key_type, leaves), replaced(type_.item_type, leaves)
        return pa.map_(*inner, keys_sorted=type_.keys_sorted)
    if pa.types.is_fixed_size_list(type_):
        if type_.list_size < 0:
            raise pa.ArrowInvalid(f"a column of lists of the fixed size {type_.list_size}")
        return pa.list_(_of_field(type_.value_field, leaves), type_.list_size)
    if pa.types.is_large_list(type_) or pa.types.is_large_list_view(type_):
        return pa.large_list(_of_field(type_.value_field, leaves))
    if pa.types.is_list(type_) or pa.types.is_list_view(type_):
        return pa.list_(_of_field(type_.value_field, leaves))
    return type_


def without_views(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose views are plain columns of the same values, which rows can be taken from."""
    fields = [_of_field(field, _PLAIN) for field in schema]
    return pa.schema(fields, schema.metadata)


def _of_field(field: pa.Field, leaves: Mapping[pa.DataType, pa.DataType]) -> pa.Field:
    return field.with_type(replaced(field.type, leaves))


def without_encodings(schema: pa.Schema) -> pa.Schema:
    """Return a schema in which columns of categories and of JSON texts have the type of their values."""
    leaves = {leaf: plain for field in schema for leaf, plain in _encoded(field.type)}
    return pa.schema([_of_field(field, leaves) for field in schema], schema.metadata)


def _encoded(type_: pa.DataType) -> Iterator[tuple[pa.DataType, pa.DataType]]:
    """Yield the leaves that are categories or JSON texts, each with the type of its values."""
    if isinstance(type_, pa.DictionaryType):
        yield type_, type_.value_type
    elif isinstance(type_, pa.JsonType):
        yield type_, type_.storage_type
    else:
        for i in range(type_.num_fields):
            yield from _encoded(type_.field(i).type)
