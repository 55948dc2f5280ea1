"""The codes with which the server closes websockets, on ``/subscription`` and on ``/graphql``.

Source: RFC 6455 section 7.4; IANA, WebSocket Close Code Number Registry; graphql-ws, PROTOCOL.md for the codes from 4400.
"""

NORMAL = 1000
POLICY_VIOLATION = 1008
MESSAGE_TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
BAD_MESSAGE = 4400
UNAUTHENTICATED = 4401
FORBIDDEN = 4403
NOT_FOUND = 4404
WRONG_SUBPROTOCOL = 4406
TOO_SLOW = 4408
ALREADY_EXISTS = 4409
TOO_MANY = 4429

BY_ERROR_CODE = {
    "restarting": SERVICE_RESTART,
    "unauthenticated": UNAUTHENTICATED,
    "forbidden": FORBIDDEN,
    "not_found": NOT_FOUND,
    "too_slow": TOO_SLOW,
    "overloaded": TOO_MANY,
}
"""The close code for an `ActionError.code`."""
