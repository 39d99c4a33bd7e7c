"""Every setting: its type, its default with the reason for it, and what it does. Plain data.

The text below a setting is what `toque settings` prints beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

from toque.settings.secret import Secret

__all__ = [
    "SECTIONS",
    "App",
    "Auth",
    "Cache",
    "Calls",
    "Database",
    "Http",
    "HttpClient",
    "Live",
    "Log",
    "Messages",
    "Observe",
    "Settings",
    "Webhooks",
    "type_of",
]

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Duration = Annotated[float, Meta(ge=0)]
HeaderBytes = Annotated[int, Meta(ge=8192)]  # The least that granian takes.
HeaderTime = Annotated[float, Meta(ge=1, le=60)]  # What granian takes.
Leeway = Annotated[float, Meta(ge=0, le=300)]  # "Usually no more than a few minutes" (RFC 7519, 4.1.4).

KIB = 1024
MIB = 1024 * KIB

Environment = Literal["development", "production"]
Algorithm = Literal[
    "EdDSA", "Ed25519", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512",
    "RS256", "RS384", "RS512", "HS256", "HS384", "HS512",
]  # fmt: skip


class App(Struct, frozen=True, kw_only=True):
    """What the app is run for."""

    environment: Environment = "development"
    """Development is convenient; production is strict."""


class Http(Struct, frozen=True, kw_only=True):
    """The web server and its edge."""

    host: str = "127.0.0.1"
    """Address to listen on; the default is reachable from this machine only."""

    port: Port = 8000
    """Port to listen on; 0 takes a free one."""

    workers: Positive = 1
    """Processes that serve; more than one a core gains nothing."""

    hosts: tuple[str, ...] = ()
    """Names that the app answers for, `*` for any. Empty: addresses, localhost and names without a dot, which
    no stranger can point at this machine (DNS rebinding)."""

    # nginx has the same default (client_max_body_size): apps behind a proxy live with it already.
    body_bytes_max: Positive = MIB
    """Largest request body; an operation may set its own."""

    # A megabyte at the speed of a poor mobile line (1 Mbit/s) takes eight seconds.
    body_timeout_s: Duration = 10.0
    """Longest time that a request's body may take to arrive."""

    header_timeout_s: HeaderTime = 10.0
    """Longest time that a request's head may take to arrive."""

    # Twice what nginx and Apache take for one line of it; granian itself would take 400 kB.
    header_bytes_max: HeaderBytes = 16 * KIB
    """Largest head of a request."""

    # All followers that a worker takes (`live.subscriptions_max`), each on a connection of its own, and two thousand
    # others. Each takes 32 kB, as does one that sends slowly (measured): 130 MB for four thousand.
    connections_max: Positive = 12_288
    """Most open connections of a worker; more wait in the kernel."""

    # Kubernetes kills 30 s after SIGTERM; five remain for what ends after the last answer.
    drain_s: Duration = 25.0
    """Longest time that running calls get when the server stops."""

    cors_origins: tuple[str, ...] = ()
    """Web origins whose scripts may call: `https://shop.example`, or `*` for any. Empty: none."""

    cors_credentials: bool = False
    """Whether those scripts may send cookies; never together with `*`."""

    tls_certificate: Path | None = None
    """PEM file with the certificate chain; set together with `tls_key`."""

    tls_key: Path | None = None
    """PEM file with the certificate's private key."""

    docs: bool | None = None
    """Whether /docs and /openapi.json are served. Unset: only in development."""

    # A smaller answer fits with its head into one Ethernet frame (1,500 bytes): compressing saves no packet.
    compress_bytes_min: Count = KIB
    """Smallest answer that is compressed."""


class Calls(Struct, frozen=True, kw_only=True):
    """How much work at once, and for how long."""

    # What a person waits for before giving up (Nielsen, Usability Engineering, 1993, chapter 5).
    deadline_s: Duration = 10.0
    """Time after which a call is stopped; a caller may ask for less, never for more."""

    # Ten times the queue of the database below: calls wait for other services, bodies and readers too.
    in_flight_max: Positive = 1000
    """Most calls of a worker that may wait for something at once; more are refused."""

    # AnyIO's default, and so Starlette's and FastAPI's: what runs there runs here.
    threads_max: Positive = 40
    """Most plain `def` operations of a worker that run at once."""

    # Five rounds: at 100 ms of blocking work the last one waits half a second.
    thread_queue_max: Count = 200
    """Most plain `def` operations that wait for a thread; more are refused."""


class Database(Struct, frozen=True, kw_only=True):
    """Where the data is kept."""

    url: Secret = Secret("")
    """`postgresql://user:password@host/name` or `sqlite:///file`. Empty: `.toque/app.db` beside the app."""

    # PostgreSQL takes 100 connections (max_connections): nine workers, and some for its keeper.
    pool_size: Positive = 10
    """Most connections of a worker."""

    replicas: tuple[Secret, ...] = ()
    """Servers that follow the one at `url` by streaming replication. Queries go to those that are fresh enough."""

    pooler: Literal["none", "transaction"] = "none"
    """`transaction` where PgBouncer or its like stands in between, in transaction mode."""

    direct_url: Secret = Secret("")
    """The same database past the pooler: an app with events or jobs follows it on one session of its own."""

    # Ten rounds: at 10 ms a transaction the last one waits 100 ms.
    waiting_max: Count = 100
    """Most calls that wait for a connection; more are refused."""

    watch: bool | None = None
    """Whether a call that runs one statement once per row (N+1) is warned of. Unset: only in development."""

    # Unset in production, because hearing of statements costs 3 us each, a fifth of a read by key on SQLite. In
    # development half of what makes a call slow (`log.slow_ms`).
    slow_ms: Duration | None = None
    """A statement that takes longer is logged with its plan; 0: none. Unset: 500 in development, else none."""

    # The same 3 us a statement.
    statistics: bool | None = None
    """Whether what each statement costs is kept for `toque db advise`. Unset: only in development."""

    slow_values: bool = False
    """Whether the values of slow statements stand in the log; they may be secrets."""


class Cache(Struct, frozen=True, kw_only=True):
    """Answers of queries, kept in memory until what they have read changes."""

    # Some ten thousand answers of a few kilobytes; less than a process takes by itself.
    bytes_max: Count = 64 * MIB
    """Most memory that a worker keeps answers in; 0: none are kept."""

    # What a person takes for at once (Nielsen, Usability Engineering, 1993, chapter 5).
    bound_s: Duration = 1.0
    """What others committed longer ago is missed by no answer; one's own commits never are."""

    shared_url: Secret = Secret("")
    """Redis or Valkey (`redis://`, `rediss://`, `valkey://`) in which processes find one another's answers, sealed.
    Only with PostgreSQL. Unset: each finds out its own."""

    # A question to a server in the same network takes a tenth of that, and so do most queries of one row.
    shared_from_s: Duration = 0.002
    """How long a query takes at least whose answers are shared."""

    purge_url: Secret = Secret("")
    """Where a cache in front is told what has changed, with names in the header `surrogate-key`. Unset: none is, and
    every cache on the way asks again for each answer."""

    purge_method: str = "POST"
    """With which method; Varnish's users tend to write PURGE."""

    purge_headers: tuple[Secret, ...] = ()
    """What is sent along: `Fastly-Key: ...`."""

    # If nothing it was told arrived, it is wrong no longer than that.
    edge_s: Duration = 60.0
    """How long a cache in front that is told what changed may give an answer unasked."""

    verify: str = "0"
    """Share of the answers from memory that are found out anew and compared, from 0 to 1; `all` in tests."""

    @property
    def verify_share(self) -> float | None:
        """That share as a number; None where it is none."""
        try:
            share = 1.0 if self.verify == "all" else float(self.verify)
        except ValueError:
            return None
        return share if 0 <= share <= 1 else None


class Live(Struct, frozen=True, kw_only=True):
    """Live queries: answers that are sent again whenever they change."""

    # Ten thousand take 25 MB (tests/cache), and with a connection each 330 MB (`python -m bench --work live_one`).
    subscriptions_max: Positive = 10_000
    """Most subscriptions of a worker; more are refused."""

    # What RFC 9113 (6.5.2) recommends at least for the streams of one HTTP/2 connection.
    connection_subscriptions_max: Positive = 100
    """Most subscriptions of one WebSocket; more are refused."""

    # As much as the cache has for all other answers: these are not evicted, because somebody looks at them.
    bytes_max: Positive = 64 * MIB
    """Most memory that a worker keeps followed answers in, each once however many follow it; more are refused."""

    # Twice what a phone takes to change from one network to another.
    lag_s: Duration = 30.0
    """How long a client may leave a new state untaken before its subscription ends."""


class HttpClient(Struct, frozen=True, kw_only=True):
    """Requests that the app sends to others."""

    allow: tuple[str, ...] = ()
    """Where they may go beside ports 80 and 443 of the public internet: `billing.internal`, `10.0.0.0/8`, each with
    `:8080` or, for any port, `:*` behind it."""

    # As long as a call has by itself: nobody waits longer for the answer.
    timeout_s: Duration = 10.0
    """Longest time of a request, retries included; its call's deadline may end it sooner."""

    # Five times the largest body that is taken (`http.body_bytes_max`): a page of rows fits, an export does not.
    answer_bytes_max: Positive = 5 * MIB
    """Largest body of an answer."""

    # The usual number of httpx and requests: what is written for them needs no more here.
    connections_max: Positive = 100
    """Most open connections of a worker; requests wait for one of them."""

    ca_file: Path | None = None
    """PEM file with the authorities that sign the others' certificates. Unset: those that this machine trusts."""


class Auth(Struct, frozen=True, kw_only=True):
    """Who signs the tokens that callers show. Development without a key uses its own (`toque token`)."""

    algorithms: tuple[Algorithm, ...] = ()
    """Signatures that are accepted. Empty: EdDSA, ES256, PS256, RS256 of public keys, HS256 of a secret."""

    key: Secret = Secret("")
    """The issuer's public key (PEM), or a secret of 32 bytes or more that is shared with it."""

    key_file: Path | None = None
    """File that holds `key`."""

    jwks_file: Path | None = None
    """JSON Web Key Set (RFC 7517); read again when it changes."""

    audience: tuple[str, ...] = ()
    """Names of this app, one of which a token must be meant for (`aud`)."""

    issuer: str = ""
    """Who a token must come from (`iss`). Empty: anybody who holds the key."""

    # Machines with NTP differ by milliseconds; ten seconds forgive one that has lost it for days.
    leeway_s: Leeway = 10.0
    """How far the issuer's clock may be off."""

    roles_claim: str = "roles"
    """Claim with the caller's roles; dots go deeper: `realm_access.roles`."""

    scopes_claim: str = "scope"
    """Claim with the token's scopes (RFC 8693, 4.2)."""

    tenant_claim: str = "tenant"
    """Claim with the caller's tenant."""

    @property
    def has_key(self) -> bool:
        """Whether a key is configured, wherever it stands."""
        return bool(self.key) or self.key_file is not None or self.jwks_file is not None


class Log(Struct, frozen=True, kw_only=True):
    """What the log says, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""

    format: Literal["auto", "text", "json"] = "auto"
    """`text` for people, `json` for machines, `auto`: text on a terminal, JSON elsewhere."""

    calls: Literal["none", "failed", "refused", "all"] = "failed"
    """Calls that get a line: those that failed by the app's fault, also those that were refused, or all."""

    # What breaks a person's flow of thought (Nielsen, Usability Engineering, 1993, chapter 5).
    slow_ms: Duration = 1000.0
    """A call that takes longer gets a line in any case but `none`."""


class Messages(Struct, frozen=True, kw_only=True):
    """Events, and what is done because of them."""

    work: bool = True
    """Whether the served processes run handlers and jobs. Without, `toque worker` does."""

    # Below the connections of a worker (`database.pool_size`), so that calls find some free beside one busy handler.
    at_once: Positive = 8
    """Most events that one handler works on at once."""

    # A week covers a long weekend in which nobody looked. More than that is an archive's work.
    keep_days: Annotated[int, Meta(ge=1, le=7)] = 7
    """Days that events are kept, the present one among them, once all handlers have passed them."""

    # As many as connections (`database.pool_size`): more would wait for one another.
    jobs_max: Positive = 10
    """Most jobs of a process that run at once."""

    # Five minutes: longer than any call should be, and short enough that one that hangs is seen the same hour.
    job_deadline_s: Duration = 300.0
    """Time after which a job is stopped; one that takes longer says so itself."""

    # Kubernetes kills 30 s after SIGTERM, and calls have had their time then (`http.drain_s`).
    drain_s: Duration = 4.0
    """Longest time that running handlers and jobs get when the process stops; the rest begins anew elsewhere."""

    brokers: tuple[Secret, ...] = ()
    """Brokers that every event is published to: `nats://`, `amqp://`, `kafka://`, `redis://`, `mqtt://host`."""

    topics: tuple[str, ...] = ()
    """Topics that are taken in from each of the brokers; their messages become events of the same type."""


class Webhooks(Struct, frozen=True, kw_only=True):
    """Events from and to others, by Standard Webhooks 1.0."""

    keys: tuple[Secret, ...] = ()
    """Keys of those whose webhooks are taken: `payments=whsec_...` or `payments=whpk_...`, one entry a key."""

    # That of the standard's own libraries.
    tolerance_s: Duration = 300.0
    """How far the time of a message may be off: what is older is taken for a replay."""

    # Standard Webhooks 1.0 recommends 15 to 30 s.
    timeout_s: Duration = 20.0
    """Longest time that a receiver gets for its answer."""

    # Leaves the operations of the same process a third of `http_client.connections_max`.
    in_flight_max: Positive = 64
    """Most webhooks under way at once."""

    # Four answers of 100 ms make 40 a second; what a small receiver bears.
    endpoint_in_flight_max: Positive = 4
    """Most webhooks under way at once to one endpoint; one where it fails."""

    # What Svix has: a long weekend and the days around it.
    disable_after_s: Duration = 432_000.0
    """How long an endpoint may fail, without one good answer, before nothing is sent to it any more."""


class Observe(Struct, frozen=True, kw_only=True):
    """What others may watch."""

    metrics: bool | None = None
    """Whether /metrics is served. Unset: only in development."""

    traces: bool = False
    """Whether calls and statements become OpenTelemetry spans; OTEL_* variables say where to."""


class Settings(Struct, frozen=True, kw_only=True):
    """All settings of a running app."""

    app: App = App()
    http: Http = Http()
    calls: Calls = Calls()
    database: Database = Database()
    cache: Cache = Cache()
    live: Live = Live()
    http_client: HttpClient = HttpClient()
    auth: Auth = Auth()
    log: Log = Log()
    messages: Messages = Messages()
    webhooks: Webhooks = Webhooks()
    observe: Observe = Observe()
    folder: Path | None = None
    """The app's folder: toque.toml stands there, `.toque` is kept there, relative paths start there."""
    sources: Mapping[str, str] = {}
    """Where each setting that is not a default came from: `http.port` -> `TOQUE_HTTP_PORT`."""

    @property
    def is_production(self) -> bool:
        return self.app.environment == "production"


SECTIONS: Mapping[str, type[Struct]] = {
    name: type(section)
    for name, section in zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True)
    if isinstance(section, Struct)
}
"""The sections by name, in the order in which they are listed."""


class SettingType(NamedTuple):
    """What one setting takes."""

    annotation: Any
    is_list: bool
    is_optional: bool
    is_secret: bool


def type_of(section: str, name: str) -> SettingType:
    """The type of a setting that exists."""
    annotation = get_type_hints(SECTIONS[section], include_extras=True)[name]
    return SettingType(
        annotation,
        is_list=get_origin(annotation) is tuple,
        is_optional=type(None) in get_args(annotation),
        is_secret=Secret in (annotation, *get_args(annotation)),
    )
