"""Messages of others' gRPC interfaces, made from a description at import: their own generated code is Go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Fields = Mapping[str, tuple[tuple[str, int, str], ...]]
"""Message -> (field, number, type): `*` is repeated, no name is a string."""


def messages(package: str, fields: Fields) -> dict[str, Any]:
    """Classes by the message's name, in a pool of their own, so that no other package can collide.

    Fields that are not described are skipped when they come.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for message, described_fields in fields.items():
        described = file.message_type.add(name=message)
        for name, number, kind in described_fields:
            field = described.field.add(name=name, number=number)
            field.label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
            field.type = field.TYPE_MESSAGE if kind.strip("*") else field.TYPE_STRING
            if kind.strip("*"):
                field.type_name = f".{package}.{kind.strip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in fields
    }
