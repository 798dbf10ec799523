"""The tables. A name of Nova, Placement, Glance, Neutron or Cinder means here what it means there."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[str]:
    return Column("id", String(36), primary_key=True)


def _times() -> tuple[Column[float], Column[float]]:
    return Column("created_at", Float, nullable=False), Column("updated_at", Float, nullable=True)


# --- Placement ------------------------------------------------------------------------------------------

PROVIDERS = Table(
    "resource_providers",
    METADATA,
    _id(),
    Column("name", String(200), nullable=False, unique=True),
    # Counts every change of inventory or allocation: who claims names the generation it has seen.
    Column("generation", Integer, nullable=False, default=0),
)

INVENTORIES = Table(
    "inventories",
    METADATA,
    Column("provider_id", ForeignKey("resource_providers.id", ondelete="CASCADE"), primary_key=True),
    Column("resource_class", String(64), primary_key=True),
    Column("total", Integer, nullable=False),
    Column("reserved", Integer, nullable=False, default=0),
    Column("min_unit", Integer, nullable=False, default=1),
    Column("max_unit", Integer, nullable=False),
    Column("step_size", Integer, nullable=False, default=1),
    Column("allocation_ratio", Float, nullable=False, default=1.0),
    CheckConstraint("total >= 0 AND reserved >= 0", name="not_negative"),
)

TRAITS = Table(
    "provider_traits",
    METADATA,
    Column("provider_id", ForeignKey("resource_providers.id", ondelete="CASCADE"), primary_key=True),
    Column("trait", String(255), primary_key=True),
)

ALLOCATIONS = Table(
    "allocations",
    METADATA,
    Column("consumer_id", String(36), primary_key=True),
    Column("provider_id", ForeignKey("resource_providers.id"), primary_key=True),
    Column("resource_class", String(64), primary_key=True),
    Column("used", Integer, nullable=False),
    CheckConstraint("used > 0", name="positive"),
    Index(None, "provider_id", "resource_class"),
)

# --- Nova -----------------------------------------------------------------------------------------------

HOSTS = Table(
    "compute_hosts",
    METADATA,
    _id(),
    Column("name", String(200), nullable=False, unique=True),
    Column("zone", String(200), nullable=False, default="nova"),
    Column("driver", String(32), nullable=False),
    Column("disabled", Boolean, nullable=False, default=False),
    Column("disabled_reason", Text, nullable=False, default=""),
    *_times(),
)

FLAVORS = Table(
    "flavors",
    METADATA,
    _id(),
    Column("name", String(255), nullable=False, unique=True),
    Column("vcpus", Integer, nullable=False),
    Column("ram_mib", Integer, nullable=False),
    Column("disk_gib", Integer, nullable=False),
    Column("ephemeral_gib", Integer, nullable=False, default=0),
    Column("swap_mib", Integer, nullable=False, default=0),
    Column("is_public", Boolean, nullable=False, default=True),
    Column("description", Text, nullable=True),
    Column("extra_specs", JSON, nullable=False, default=dict),
    *_times(),
)

KEYPAIRS = Table(
    "keypairs",
    METADATA,
    Column("user_id", String(64), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("type", String(8), nullable=False, default="ssh"),
    Column("public_key", Text, nullable=False),
    Column("fingerprint", String(255), nullable=False),
    *_times(),
)

SERVER_GROUPS = Table(
    "server_groups",
    METADATA,
    _id(),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("policy", String(32), nullable=False),
    Column("max_server_per_host", Integer, nullable=False, default=1),
    *_times(),
)

SERVERS = Table(
    "servers",
    METADATA,
    _id(),
    Column("name", String(255), nullable=False),
    Column("hostname", String(255), nullable=False),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("vm_state", String(32), nullable=False),
    Column("task_state", String(32), nullable=True),
    Column("power_state", Integer, nullable=False, default=0),
    Column("host", String(200), nullable=True),
    Column("availability_zone", String(200), nullable=False, default=""),
    Column("image_id", String(36), nullable=True),
    # The flavor as it was: a flavor that is deleted or changed does not change its servers.
    Column("flavor", JSON, nullable=False),
    Column("key_name", String(255), nullable=True),
    Column("public_key", Text, nullable=True),
    Column("user_data", LargeBinary, nullable=True),
    Column("config_drive", Boolean, nullable=False, default=False),
    Column("metadata", JSON, nullable=False, default=dict),
    Column("tags", JSON, nullable=False, default=list),
    Column("security_groups", JSON, nullable=False, default=list),
    Column("networks", JSON, nullable=False, default=list),
    Column("files", JSON, nullable=False, default=list),
    Column("hints", JSON, nullable=False, default=dict),
    Column("group_id", String(36), nullable=True),
    Column("locked", Boolean, nullable=False, default=False),
    Column("locked_reason", Text, nullable=True),
    Column("fault", JSON, nullable=True),
    # What a resize must be able to go back to, and what a rescue must restore.
    Column("old_flavor", JSON, nullable=True),
    Column("client_token", String(255), nullable=True),
    Column("launched_at", Float, nullable=True),
    Column("terminated_at", Float, nullable=True),
    *_times(),
    UniqueConstraint("project_id", "client_token"),
    Index(None, "host"),
    Index(None, "project_id", "vm_state"),
)

SERVER_DESCRIPTIONS = Table(
    "server_descriptions",
    METADATA,
    Column("server_id", ForeignKey("servers.id", ondelete="CASCADE"), primary_key=True),
    Column("text", Text, nullable=False),
)

# The projects that may use a flavor which is not for everybody.
FLAVOR_ACCESS = Table(
    "flavor_access",
    METADATA,
    Column("flavor_id", ForeignKey("flavors.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", String(64), primary_key=True),
)

ACTIONS = Table(
    "server_actions",
    METADATA,
    Column("request_id", String(64), primary_key=True),
    Column("server_id", String(36), nullable=False, index=True),
    Column("action", String(64), nullable=False),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float, nullable=True),
    Column("result", String(16), nullable=True),
    Column("message", Text, nullable=True),
    Column("host", String(200), nullable=True),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("type", String(128), nullable=False),
    Column("server_id", String(36), nullable=True, index=True),
    Column("project_id", String(64), nullable=True),
    Column("payload", JSON, nullable=False),
    sqlite_autoincrement=True,
)

# --- Keystone -------------------------------------------------------------------------------------------

PROJECTS = Table(
    "projects",
    METADATA,
    _id(),
    Column("name", String(64), nullable=False, unique=True),
    Column("description", Text, nullable=False, default=""),
    Column("enabled", Boolean, nullable=False, default=True),
    *_times(),
)

USERS = Table(
    "users",
    METADATA,
    _id(),
    Column("name", String(255), nullable=False, unique=True),
    Column("default_project_id", String(64), nullable=True),
    Column("enabled", Boolean, nullable=False, default=True),
    # scrypt: parameters, salt and hash in one text.
    Column("password_hash", Text, nullable=False),
    *_times(),
)

ROLES = Table(
    "role_assignments",
    METADATA,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("role", String(32), primary_key=True),
)

APPLICATION_CREDENTIALS = Table(
    "application_credentials",
    METADATA,
    _id(),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("project_id", ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("secret_hash", Text, nullable=False),
    Column("roles", JSON, nullable=False),
    Column("expires_at", Float, nullable=True),
    *_times(),
    UniqueConstraint("user_id", "name"),
)

USER_DETAILS = Table(
    "user_details",
    METADATA,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("description", Text, nullable=False, default=""),
    Column("email", String(255), nullable=True),
)

# What makes tokens void that are still signed and young enough: see spawner/revocation.py for the keys.
REVOCATIONS = Table(
    "revocations",
    METADATA,
    Column("key", String(160), primary_key=True),
    # Tokens that were issued up to then are void.
    Column("issued_until", Float, nullable=False),
    # By then each of them is too old anyway.
    Column("expires_at", Float, nullable=False, index=True),
)

# What an admin has set; for the rest the defaults of the services hold.
PROJECT_QUOTAS = Table(
    "project_quotas",
    METADATA,
    Column("project_id", String(64), primary_key=True),
    Column("service", String(16), primary_key=True),
    Column("resource", String(64), primary_key=True),
    # -1: as much as one likes.
    Column("limit", Integer, nullable=False),
)

# --- Glance ---------------------------------------------------------------------------------------------

IMAGES = Table(
    "images",
    METADATA,
    _id(),
    Column("name", String(255), nullable=True),
    Column("status", String(32), nullable=False),
    Column("visibility", String(16), nullable=False, default="private"),
    Column("owner", String(64), nullable=False),
    Column("protected", Boolean, nullable=False, default=False),
    Column("disk_format", String(20), nullable=True),
    Column("container_format", String(20), nullable=True),
    Column("min_disk", Integer, nullable=False, default=0),
    Column("min_ram", Integer, nullable=False, default=0),
    Column("size", BigInteger, nullable=True),
    Column("virtual_size", BigInteger, nullable=True),
    Column("checksum", String(32), nullable=True),
    Column("os_hash_algo", String(16), nullable=True),
    Column("os_hash_value", String(128), nullable=True),
    Column("properties", JSON, nullable=False, default=dict),
    Column("tags", JSON, nullable=False, default=list),
    *_times(),
)

# With whom an image of the visibility `shared` is shared.
IMAGE_MEMBERS = Table(
    "image_members",
    METADATA,
    Column("image_id", ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("member_id", String(64), primary_key=True),
    Column("status", String(16), nullable=False, default="pending"),
    *_times(),
)

# --- Neutron --------------------------------------------------------------------------------------------

NETWORKS = Table(
    "networks",
    METADATA,
    _id(),
    Column("name", String(255), nullable=False, default=""),
    Column("project_id", String(64), nullable=False),
    Column("shared", Boolean, nullable=False, default=False),
    Column("admin_state_up", Boolean, nullable=False, default=True),
    Column("mtu", Integer, nullable=False, default=1500),
    Column("description", Text, nullable=False, default=""),
    *_times(),
)

SUBNETS = Table(
    "subnets",
    METADATA,
    _id(),
    Column("name", String(255), nullable=False, default=""),
    Column("project_id", String(64), nullable=False),
    Column("network_id", ForeignKey("networks.id", ondelete="CASCADE"), nullable=False),
    Column("ip_version", Integer, nullable=False),
    Column("cidr", String(64), nullable=False),
    Column("gateway_ip", String(64), nullable=True),
    Column("enable_dhcp", Boolean, nullable=False, default=True),
    Column("dns_nameservers", JSON, nullable=False, default=list),
    Column("host_routes", JSON, nullable=False, default=list),
    Column("allocation_pools", JSON, nullable=False, default=list),
    Column("ipv6_address_mode", String(32), nullable=True),
    Column("ipv6_ra_mode", String(32), nullable=True),
    Column("description", Text, nullable=False, default=""),
    *_times(),
)

PORTS = Table(
    "ports",
    METADATA,
    _id(),
    Column("name", String(255), nullable=False, default=""),
    Column("project_id", String(64), nullable=False),
    Column("network_id", ForeignKey("networks.id"), nullable=False),
    Column("mac_address", String(17), nullable=False, unique=True),
    Column("fixed_ips", JSON, nullable=False, default=list),
    Column("device_id", String(255), nullable=False, default="", index=True),
    Column("device_owner", String(255), nullable=False, default=""),
    Column("admin_state_up", Boolean, nullable=False, default=True),
    Column("status", String(16), nullable=False, default="DOWN"),
    Column("security_groups", JSON, nullable=False, default=list),
    Column("description", Text, nullable=False, default=""),
    *_times(),
)

# Each address once in its subnet: the constraint, not a check before, is what keeps two ports apart.
ADDRESSES = Table(
    "addresses",
    METADATA,
    Column("subnet_id", ForeignKey("subnets.id", ondelete="CASCADE"), primary_key=True),
    Column("ip_address", String(64), primary_key=True),
    Column("port_id", ForeignKey("ports.id", ondelete="CASCADE"), nullable=False, index=True),
)

# The address itself is a port's on the external network, so that no two have it. Several may be in front of
# one port, one for each of its fixed addresses.
FLOATING_IPS = Table(
    "floating_ips",
    METADATA,
    _id(),
    Column("project_id", String(64), nullable=False, index=True),
    Column("floating_network_id", ForeignKey("networks.id"), nullable=False),
    Column("floating_ip_address", String(64), nullable=False, unique=True),
    Column("floating_port_id", ForeignKey("ports.id"), nullable=False),
    Column("port_id", String(36), nullable=True, index=True),
    Column("fixed_ip_address", String(64), nullable=True),
    Column("description", Text, nullable=False, default=""),
    *_times(),
    UniqueConstraint("port_id", "fixed_ip_address"),
)

SECURITY_GROUPS = Table(
    "security_groups",
    METADATA,
    _id(),
    Column("name", String(255), nullable=False),
    Column("project_id", String(64), nullable=False),
    Column("description", Text, nullable=False, default=""),
    *_times(),
)

SECURITY_GROUP_RULES = Table(
    "security_group_rules",
    METADATA,
    _id(),
    Column("security_group_id", ForeignKey("security_groups.id", ondelete="CASCADE"), nullable=False),
    Column("project_id", String(64), nullable=False),
    Column("direction", String(16), nullable=False),
    Column("ethertype", String(8), nullable=False, default="IPv4"),
    Column("protocol", String(40), nullable=True),
    Column("port_range_min", Integer, nullable=True),
    Column("port_range_max", Integer, nullable=True),
    Column("remote_ip_prefix", String(64), nullable=True),
    Column("remote_group_id", String(36), nullable=True),
    Column("description", Text, nullable=False, default=""),
    *_times(),
)

# --- Cinder, and what is plugged into servers -----------------------------------------------------------

VOLUMES = Table(
    "volumes",
    METADATA,
    _id(),
    Column("name", String(255), nullable=False, default=""),
    Column("description", Text, nullable=True),
    Column("project_id", String(64), nullable=False, index=True),
    Column("user_id", String(64), nullable=False),
    Column("status", String(32), nullable=False),
    Column("size_gib", Integer, nullable=False),
    Column("bootable", Boolean, nullable=False, default=False),
    Column("image_id", String(36), nullable=True),
    # The properties of that image, as they were.
    Column("image_metadata", JSON, nullable=False, default=dict),
    Column("source_volume_id", String(36), nullable=True),
    Column("metadata", JSON, nullable=False, default=dict),
    *_times(),
)

# The primary key says that a volume is in one server at a time.
VOLUME_ATTACHMENTS = Table(
    "volume_attachments",
    METADATA,
    Column("volume_id", ForeignKey("volumes.id", ondelete="CASCADE"), primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("server_id", String(36), nullable=False, index=True),
    Column("device", String(32), nullable=False),
    Column("delete_on_termination", Boolean, nullable=False, default=False),
    *_times(),
)

DEVICE_SLOTS = Table(
    "device_slots",
    METADATA,
    Column("server_id", String(36), primary_key=True),
    Column("slot", Integer, primary_key=True),
    # A volume's or a port's id.
    Column("owner_id", String(36), nullable=False),
    Column("tag", String(64), nullable=False, default=""),
    # A port that was there before the server outlives it; one that was made for it does not.
    Column("was_there_before", Boolean, nullable=False, default=False),
    UniqueConstraint("server_id", "owner_id"),
)

RESCUES = Table(
    "rescues",
    METADATA,
    Column("server_id", String(36), primary_key=True),
    Column("image_id", String(36), nullable=False),
    *_times(),
)
