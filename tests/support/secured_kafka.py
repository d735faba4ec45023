"""A broker with authentication, by SCRAM or a client certificate, and authorization by ACLs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from dev.kafka import LocalKafka
from tests.certificates import Authority
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from confluent_kafka.admin import AdminClient

    from consumer.cli.acls import Acl as NeededAcl

PASSWORD = "correct horse battery staple"
MECHANISM = "SCRAM-SHA-256"
REQUEST_SECONDS = 30.0
SASL, TLS, MUTUAL = "SASL", "TLS", "MUTUAL"
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
# None means any; the client's type hints do not allow it.
ANY_RESOURCE = AclBindingFilter(
    ResourceType.ANY,
    None,  # type: ignore[arg-type]
    ResourcePatternType.ANY,
    None,  # type: ignore[arg-type]
    None,  # type: ignore[arg-type]
    AclOperation.ANY,
    AclPermissionType.ANY,
)


class Acl(NamedTuple):
    """A permission, with the names of the admin client."""

    resource: str
    name: str
    operation: str
    pattern: str = "LITERAL"

    def is_named_in(self, complaint: str) -> bool:
        """Return whether an error message names this permission as missing."""
        found = re.search(r"missing ACL: grant (.+) on (.+)", complaint)
        if not found or self.operation.title().replace("_", "") not in re.findall(r"\w+", found[1]):
            return False
        resource = f"{self.resource.lower().replace('_', ' ')} {self.name}"
        return found[2].startswith(resource) if self.pattern == "PREFIXED" else found[2] == resource

    def binding(self, user: str) -> AclBinding:
        """Return the binding for one user."""
        return AclBinding(
            # librdkafka names the cluster after its older meaning.
            ResourceType.BROKER if self.resource == "CLUSTER" else ResourceType[self.resource],
            self.name,
            ResourcePatternType[self.pattern],
            f"User:{user}",
            "*",
            AclOperation[self.operation],
            AclPermissionType.ALLOW,
        )


def granted(acls: Iterable[NeededAcl]) -> list[Acl]:
    """Return the permissions that the program lists, one for each operation."""
    return [
        Acl(
            acl.resource.upper().replace("-", "_"),
            acl.name,
            re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper(),
            acl.pattern.upper(),
        )
        for acl in acls
        for operation in acl.operations
    ]


class SecuredKafka:
    """A broker with listeners for SASL, TLS and mutual TLS; its first listener allows everything.

    It creates topics automatically, as many clusters do: the service must never cause that.
    """

    def __init__(self, folder: Path, **more: str) -> None:
        """Prepare the broker; certificates are written to `folder`. `more` are broker settings."""
        self.authority = Authority(folder)
        store = folder / "keystore.pem"
        broker = self.authority.certify("broker")
        store.write_text(
            "".join(path.read_text() for path in (broker.key, broker.chain, self.authority.file))
        )
        properties = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "auto.create.topics.enable": "true",
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.truststore.type": "PEM",
            "listener.name.mutual.ssl.truststore.location": str(self.authority.file),
        }
        for listener in ("tls", "mutual"):
            properties[f"listener.name.{listener}.ssl.keystore.type"] = "PEM"
            properties[f"listener.name.{listener}.ssl.keystore.location"] = str(store)
        for listener in ("sasl", "tls"):
            prefix = f"listener.name.{listener}"
            properties[f"{prefix}.sasl.enabled.mechanisms"] = MECHANISM
            properties[f"{prefix}.{MECHANISM.lower()}.sasl.jaas.config"] = SCRAM_LOGIN
        self.kafka = LocalKafka(
            properties=properties | more,
            extra_listeners={SASL: "SASL_PLAINTEXT", TLS: "SASL_SSL", MUTUAL: "SSL"},
        )

    def cluster(self) -> Cluster:
        """Return the cluster for a user with all permissions."""
        return Cluster(self.kafka.bootstrap_servers)

    def login(self, user: str, listener: str = SASL) -> dict[str, Any]:
        """Return the variables of a service that logs in as this user."""
        settings: dict[str, Any] = {"BOOTSTRAP_SERVERS": self.kafka.listener(listener)}
        if listener == MUTUAL:
            ours = self.authority.certify(user)
            return settings | {
                "SECURITY_PROTOCOL": "SSL",
                "SSL_CAFILE": self.authority.file,
                "SSL_CERTFILE": ours.chain,
                "SSL_KEYFILE": ours.key,
            }
        settings |= {
            "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "SASL_MECHANISM": MECHANISM,
            "SASL_USERNAME": user,
            "SASL_PASSWORD": PASSWORD,
        }
        if listener == TLS:
            settings |= {"SECURITY_PROTOCOL": "SASL_SSL", "SSL_CAFILE": self.authority.file}
        return settings

    def add_user(self, user: str, acls: Iterable[Acl] = ()) -> None:
        """Create a user with these permissions only, and wait until the broker has applied them."""
        self.set_password(user, PASSWORD)
        self.allow(user, acls)
        admin = self.cluster().admin
        wait_until(lambda: _may_log_in(admin, user), what=f"the login of {user}")

    def set_password(self, user: str, password: str) -> None:
        """Create a user, or change its password."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        change = UserScramCredentialUpsertion(user, info, password.encode())
        admin = self.cluster().admin  # a name of its own: the client ends with its last reference
        for changed in admin.alter_user_scram_credentials([change]).values():
            changed.result(REQUEST_SECONDS)

    def allow(self, user: str, acls: Iterable[Acl]) -> None:
        """Grant permissions to a principal, and wait until the broker has applied them."""
        admin = self.cluster().admin
        bindings = [acl.binding(user) for acl in acls]
        if bindings:
            for created in admin.create_acls(bindings).values():
                created.result(REQUEST_SECONDS)
        wait_until(
            lambda: set(bindings) <= set(admin.describe_acls(ANY_RESOURCE).result(REQUEST_SECONDS)),
            what=f"the ACLs of {user}",
        )


def _may_log_in(admin: AdminClient, user: str) -> bool:
    described = admin.describe_user_scram_credentials([user])
    assert isinstance(described, dict)
    try:
        return bool(described[user].result(REQUEST_SECONDS).scram_credential_infos)
    except KafkaException:  # no such user yet
        return False
