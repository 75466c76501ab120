# ruff: noqa: E501 - one case a line reads best
"""Every wrong configuration of a CometBFT exporter that we know of, and the line that it gives.

What is the same for each family, such as the form of a file, is in tests/unit/wrong_settings.py.
"""

from tests.unit.wrong_settings import SECRET, Wrong, given

A = "63D55B36139650643B22251A44066B2215A15318"
EXPECTED = "; expected an address as in /status validator_info: 40 hex digits, or …valcons1…"
NAME = "; expected 1 to 40 letters, digits, blanks, dots, underlines or hyphens"

# fmt: off
WRONG = [
    Wrong("RPC address as the node's own configuration has it", "rpc.url: 'tcp://127.0.0.1:26657' is no RPC address; expected http://host:port or https://host:port", flags=("--rpc.url=tcp://127.0.0.1:26657",)),
    Wrong("websocket's address", "rpc.url: 'ws://127.0.0.1:26657' is no RPC address; expected http://host:port or https://host:port", flags=("--rpc.url=ws://127.0.0.1:26657/websocket",)),
    Wrong("password in the URL", "rpc.url: contains a user or password; expected them in rpc.user and rpc.password_file", flags=(f"--rpc.url=http://u:{SECRET}@h:1",)),
    Wrong("key in the path of what is no RPC address", "rpc.url: 'wss://h' is no RPC address; expected http://host:port or https://host:port", flags=(f"--rpc.url=wss://h/{SECRET}?k={SECRET}",)),
    Wrong("key in an address without a scheme", "vantage.urls: 'h:1' is no RPC address; expected http://host:port or https://host:port", flags=(f"--vantage.urls=h:1/{SECRET}",)),
    Wrong("key in the path of a vantage point that is there twice", "vantage.urls: 'https://a:1' is given more than once; expected addresses of other nodes of the same chain", flags=(f"--vantage.urls=https://a:1/{SECRET},https://a:1/{SECRET}",)),
    Wrong("user without password", "rpc.user: user and password belong together; expected both or neither", flags=("--rpc.user=a",)),
    Wrong("two passwords", "rpc.password_file: given together with rpc.password; expected one of the two", flags=("--rpc.user=a", "--rpc.password-file=DIR/password"), environment={"CHAINWATCH_RPC_PASSWORD": SECRET}),
    Wrong("password file that is not there", "rpc.password_file: cannot read DIR/password: No such file or directory; expected a file that this user may read", flags=("--rpc.user=a", "--rpc.password-file=DIR/password",)),
    Wrong("certificate authority without https", "rpc.ca_file: given for http addresses; expected an https address in rpc.url", flags=("--rpc.ca-file=/x",)),
    Wrong("certificate authority that is not there", "rpc.ca_file: cannot read DIR/none; expected a PEM file", flags=("--rpc.url=https://h:1", "--rpc.ca-file=DIR/none",)),
    Wrong("vantage point without a scheme", "vantage.urls: 'h:26657' is no RPC address; expected http://host:port or https://host:port", flags=("--vantage.urls=http://a:26657, h:26657",)),
    Wrong("vantage point with a password", "vantage.urls: contains a user or password; expected them in rpc.user and rpc.password_file", flags=(f"--vantage.urls=http://u:{SECRET}@h:1",)),
    Wrong("vantage point that is the watched node", "vantage.urls: 'http://127.0.0.1:26657' is the watched node's address; expected addresses of other nodes of the same chain", flags=("--vantage.urls=http://127.0.0.1:26657/",)),
    Wrong("vantage point twice", "vantage.urls: 'http://a:1' is given more than once; expected addresses of other nodes of the same chain", flags=("--vantage.urls=http://a:1,http://b:1,http://a:1",)),
    Wrong("too many vantage points", "vantage.urls: 9 addresses; expected at most 8", flags=("--vantage.urls=http://h0:1,http://h1:1,http://h2:1,http://h3:1,http://h4:1,http://h5:1,http://h6:1,http://h7:1,http://h8:1",)),
    Wrong("same login without a login", "vantage.same_login: given without a login; expected rpc.user and rpc.password_file too", flags=("--vantage.same-login=true",)),
    Wrong("spacing of nothing", "chain.spacing: '0' is not valid (in flag --chain.spacing); expected a number more than 0", flags=("--chain.spacing=0",)),
    Wrong("address that is too short", "validators.own: '63D55B' is no validator address" + EXPECTED, flags=("--validators.own=63D55B",)),
    Wrong("address that is no hex", "validators.own: 'gggggggggggggggggggggggggggggggggggggggg' is no validator address" + EXPECTED, flags=("--validators.own=gggggggggggggggggggggggggggggggggggggggg",)),
    Wrong("operator's address", "validators.own: 'cosmosvaloper1abc' is no validator address" + EXPECTED + "; an operator's address (…valoper1…) is another thing", flags=("--validators.own=cosmosvaloper1abc",)),
    Wrong("own validator twice", f"validators.own: {A} is given more than once; expected each address once", flags=(f"--validators.own={A},{A.lower()}=x",)),
    Wrong("name with a quote", "validators.own: 'a\"b' cannot be a name" + NAME, flags=(f'--validators.own={A}=a"b',)),
    Wrong("name with a line end", "validators.own: 'a\\nb' cannot be a name" + NAME, flags=(f"--validators.own={A}=a\nb",)),
    Wrong("name of nothing", "validators.own: '' cannot be a name" + NAME, flags=(f"--validators.own={A}=",)),
    Wrong("only one's own without any", "validators.only_own: given without one's own validators; expected them in validators.own", flags=("--validators.only-own=true",)),
    Wrong("file of names that is not there", "validators.file: cannot read DIR/none: No such file or directory; expected a YAML file that this user may read", flags=("--validators.file=DIR/none",)),
    Wrong("file of names that is a list", "validators.file: DIR/names: the top level is a list; expected a mapping of sections", flags=("--validators.file=DIR/names",), files={"names": f"[{A}]".encode()}),
    Wrong("file with a wrong address", "validators.file: DIR/names: 'alice' is no validator address" + EXPECTED, flags=("--validators.file=DIR/names",), files={"names": f"alice: {A}".encode()}),
    Wrong("file with a wrong name", "validators.file: DIR/names: '{1: 2}' cannot be a name" + NAME, flags=("--validators.file=DIR/names",), files={"names": f"{A}: {{1: 2}}".encode()}),
    Wrong("file with an address in two spellings", f"validators.file: DIR/names: {A} is given more than once; expected each address once", flags=("--validators.file=DIR/names",), files={"names": f"{A}: a\n{A.lower()}: b".encode()}),
    Wrong("folder for the state that is not there", "state.dir: DIR/none is no folder; expected a folder that this user may write to", flags=("--state.dir=DIR/none",)),
    Wrong("queue that holds nothing", "stream.queue: '0' is not valid (in flag --stream.queue); expected a whole number at least 100 and at most 1000000", flags=("--stream.queue=0",)),
    # the node
    Wrong("address of the websocket", "rpc.url: the path /websocket is found without being told; expected the address before it", flags=("--rpc.url=http://127.0.0.1:26657/websocket",)),
    Wrong("a list of nodes", "rpc.url: a list is not valid " + given("; expected text; several, where they may be, with commas between"), "rpc: {url: [http://127.0.0.1:26657]}"),
    Wrong("user with a colon", "rpc.user: a colon ends the user's name; expected the name alone", flags=("--rpc.user=a:b", "--rpc.password-file=DIR/password"), files={"password": b"x"}),
    Wrong("password on the command line", "--rpc.password: unknown flag: everybody can see a command line; expected CHAINWATCH_RPC_PASSWORD, or rpc.password in the file", flags=(f"--rpc.password={SECRET}",)),
    Wrong("password that is a list", "rpc.password: a list is not valid " + given("; expected text"), f"rpc: {{user: a, password: [{SECRET}]}}"),
    Wrong("time with a unit", "rpc.timeout: '10s' is not valid (in flag --rpc.timeout); expected a number more than 0 and at most 600", flags=("--rpc.timeout=10s",)),
    # vantage points
    Wrong("vantage points as a list", "vantage.urls: a list is not valid " + given("; expected text; several, where they may be, with commas between"), "vantage: {urls: [http://a:1, http://b:1]}"),
    Wrong("vantage point's websocket", "vantage.urls: the path /websocket is found without being told; expected the address before it", flags=("--vantage.urls=http://a:1, http://b:1/websocket/",)),
    Wrong("same login for somebody", "vantage.same_login: 'a' is not valid (in environment CHAINWATCH_VANTAGE_SAME_LOGIN); expected true or false", environment={"CHAINWATCH_VANTAGE_SAME_LOGIN": "a"}),
    # validators
    Wrong("address of digits alone, which YAML takes for a number", f"validators.own: {'1' * 40} is not valid " + given("; expected text, in quotes"), f"validators: {{own: {'1' * 40}}}"),
    Wrong("own validators as a list", "validators.own: a list is not valid " + given("; expected text; several, where they may be, with commas between"), f"validators: {{own: [{A}]}}"),
    Wrong("consensus address with a letter changed", "validators.own: 'cosmosvalcons1v024kdsnjegxgwezy5dygpntyg26z5ccqjta8q' is no validator address" + EXPECTED, flags=("--validators.own=cosmosvalcons1v024kdsnjegxgwezy5dygpntyg26z5ccqjta8q",)),
    Wrong("only one's own, in words", "validators.only_own: 'mine' is not valid (in flag --validators.only-own); expected true or false", flags=("--validators.only-own=mine",)),
    # how it is followed
    Wrong("silence of nothing", "stream.silence: '0' is not valid (in flag --stream.silence); expected a number more than 0 and at most 600", flags=("--stream.silence=0",)),
    Wrong("polled without a pause", "tracker.poll_interval: 0 is not valid " + given("; expected a number more than 0 and at most 3600"), "tracker: {poll_interval: 0}"),
    Wrong("fewer than no heights", "tracker.max_fill: -1 is not valid " + given("; expected a whole number at least 0"), "tracker: {max_fill: -1}"),
    # web, log and collectors
    Wrong("no port to answer on", "web.listen_address: '127.0.0.1' is no address; expected host:port, such as 127.0.0.1:PORT or [::1]:PORT", flags=("--web.listen-address=127.0.0.1",)),
    Wrong("metrics on the page of the live view", "web.telemetry_path: /consensus is a path of chainwatch's own; expected another path, such as /metrics", flags=("--web.telemetry-path=/consensus",)),
    Wrong("web configuration that is not there", "web.config.file: cannot read DIR/web.yml: No such file or directory; expected a YAML file that this user may read", flags=("--web.config.file=DIR/web.yml",)),
    Wrong("connections for nobody", "web.max_connections: '0' is not valid (in flag --web.max-connections); expected a whole number at least 1 and at most 10000", flags=("--web.max-connections=0",)),
    Wrong("level that does not exist", "log.level: 'loud' is not valid (in flag --log.level); expected one of debug, info, warning, error", flags=("--log.level=loud",)),
    Wrong("format that does not exist", "log.format: 'text' is not valid (in flag --log.format); expected one of logfmt, json", flags=("--log.format=text",)),
    Wrong("collector that does not exist", "collector.upgrades: unknown setting " + given("; expected collector.upgrade"), "collector: {upgrades: true}"),
    Wrong("collector's flag misspelt", "--no-collector.slashin: unknown flag; expected --no-collector.slashing", flags=("--no-collector.slashin",)),
    Wrong("collector neither on nor off", "collector.peers: 'some' is not valid (in environment CHAINWATCH_COLLECTOR_PEERS); expected true or false", environment={"CHAINWATCH_COLLECTOR_PEERS": "some"}),
    # top
    Wrong("exporter without a scheme", "top.url: '127.0.0.1:11333' is no address of an exporter; expected http://host:port or https://host:port of an exporter", flags=("--top.url=127.0.0.1:11333",)),
    Wrong("exporter's password in the address", "top.url: contains a user or password; expected them in top.user and top.password_file", flags=(f"--top.url=http://u:{SECRET}@h:1",)),
    Wrong("exporter's user without a password", "top.user: user and password file belong together; expected both or neither", flags=("--top.user=a",)),
    Wrong("exporter's password file of no name", "top.password_file: '' is not valid " + given("; expected a path"), "top: {password_file: ''}"),
    Wrong("exporter's certificate authority of nobody", "top.ca_file: '~nobody-of-that-name/x' is not valid " + given("; expected a path"), "top: {ca_file: ~nobody-of-that-name/x}"),
    # keys
    Wrong("section misspelt", "validator: unknown setting " + given("; expected validators.own"), f"validator: {{own: {A}}}"),
    Wrong("key misspelt", "validators.onw: unknown setting " + given("; expected validators.own"), f"validators: {{onw: {A}}}"),
    Wrong("key of another family", "zmq: unknown setting " + given("; expected one of chain, collector, log, rpc, state, stream, top, tracker, validators, vantage, web"), "zmq: {url: tcp://127.0.0.1:1}"),
    Wrong("flag misspelt", "--validator.own: unknown flag; expected --validators.own", flags=(f"--validator.own={A}",)),
]
# fmt: on
