package proto

import "strconv"

// An Op is an operation code.
type Op int32

// The operations, and the two that only a server makes.
const (
	OpNotification      Op = 0 // never valid in a request
	OpCreate            Op = 1
	OpDelete            Op = 2
	OpExists            Op = 3
	OpGetData           Op = 4
	OpSetData           Op = 5
	OpGetACL            Op = 6
	OpSetACL            Op = 7
	OpGetChildren       Op = 8
	OpSync              Op = 9
	OpPing              Op = 11
	OpGetChildren2      Op = 12
	OpCheck             Op = 13 // inside a multi only
	OpMulti             Op = 14
	OpCreate2           Op = 15
	OpReconfig          Op = 16
	OpCheckWatches      Op = 17
	OpRemoveWatches     Op = 18
	OpCreateContainer   Op = 19
	OpDeleteContainer   Op = 20 // made by the leader, not for clients
	OpCreateTTL         Op = 21
	OpMultiRead         Op = 22
	OpAuth              Op = 100
	OpSetWatches        Op = 101
	OpSASL              Op = 102
	OpGetEphemerals     Op = 103
	OpGetAllChildrenNum Op = 104
	OpSetWatches2       Op = 105
	OpAddWatch          Op = 106
	OpWhoAmI            Op = 107
	OpCreateSession     Op = -10 // made by the server a client connects to
	OpCloseSession      Op = -11
	OpError             Op = -1 // a txn type and a multi result, not a request
)

var opNames = map[Op]string{
	OpNotification:      "notification",
	OpCreate:            "create",
	OpDelete:            "delete",
	OpExists:            "exists",
	OpGetData:           "getData",
	OpSetData:           "setData",
	OpGetACL:            "getACL",
	OpSetACL:            "setACL",
	OpGetChildren:       "getChildren",
	OpSync:              "sync",
	OpPing:              "ping",
	OpGetChildren2:      "getChildren2",
	OpCheck:             "check",
	OpMulti:             "multi",
	OpCreate2:           "create2",
	OpReconfig:          "reconfig",
	OpCheckWatches:      "checkWatches",
	OpRemoveWatches:     "removeWatches",
	OpCreateContainer:   "createContainer",
	OpDeleteContainer:   "deleteContainer",
	OpCreateTTL:         "createTTL",
	OpMultiRead:         "multiRead",
	OpAuth:              "auth",
	OpSetWatches:        "setWatches",
	OpSASL:              "sasl",
	OpGetEphemerals:     "getEphemerals",
	OpGetAllChildrenNum: "getAllChildrenNumber",
	OpSetWatches2:       "setWatches2",
	OpAddWatch:          "addWatch",
	OpWhoAmI:            "whoAmI",
	OpCreateSession:     "createSession",
	OpCloseSession:      "closeSession",
	OpError:             "error",
}

func (op Op) String() string {
	if s, ok := opNames[op]; ok {
		return s
	}
	return "op " + strconv.Itoa(int(op))
}

// Xids that are no request's number.
const (
	XidNotification int32 = -1
	XidPing         int32 = -2
	XidAuth         int32 = -4
	XidSetWatches   int32 = -8
)

// CreateFlags is the mode of a create.
type CreateFlags int32

// The create modes.
const (
	FlagPersistent                  CreateFlags = 0
	FlagEphemeral                   CreateFlags = 1
	FlagPersistentSequential        CreateFlags = 2
	FlagEphemeralSequential         CreateFlags = 3
	FlagContainer                   CreateFlags = 4
	FlagPersistentWithTTL           CreateFlags = 5
	FlagPersistentSequentialWithTTL CreateFlags = 6
)

// Valid says whether f is a mode at all.
func (f CreateFlags) Valid() bool { return f >= 0 && f <= FlagPersistentSequentialWithTTL }

// Ephemeral says whether the znode goes with its session.
func (f CreateFlags) Ephemeral() bool { return f == FlagEphemeral || f == FlagEphemeralSequential }

// Sequential says whether a counter is appended to the name.
func (f CreateFlags) Sequential() bool {
	return f == FlagPersistentSequential || f == FlagEphemeralSequential || f == FlagPersistentSequentialWithTTL
}

// Container says whether the znode goes with its last child.
func (f CreateFlags) Container() bool { return f == FlagContainer }

// TTL says whether the znode goes when it was not touched for a time.
func (f CreateFlags) TTL() bool {
	return f == FlagPersistentWithTTL || f == FlagPersistentSequentialWithTTL
}

// An EventType says what happened to a watched znode.
type EventType int32

// The event types. A server sends the first four; the others are made by
// clients.
const (
	EventNone                   EventType = -1
	EventNodeCreated            EventType = 1
	EventNodeDeleted            EventType = 2
	EventNodeDataChanged        EventType = 3
	EventNodeChildrenChanged    EventType = 4
	EventDataWatchRemoved       EventType = 5
	EventChildWatchRemoved      EventType = 6
	EventPersistentWatchRemoved EventType = 7
)

var eventNames = map[EventType]string{
	EventNone:                   "None",
	EventNodeCreated:            "NodeCreated",
	EventNodeDeleted:            "NodeDeleted",
	EventNodeDataChanged:        "NodeDataChanged",
	EventNodeChildrenChanged:    "NodeChildrenChanged",
	EventDataWatchRemoved:       "DataWatchRemoved",
	EventChildWatchRemoved:      "ChildWatchRemoved",
	EventPersistentWatchRemoved: "PersistentWatchRemoved",
}

func (t EventType) String() string {
	if s, ok := eventNames[t]; ok {
		return s
	}
	return "EventType(" + strconv.Itoa(int(t)) + ")"
}

// A KeeperState is the state of a client's connection.
type KeeperState int32

// The states. A server sends SyncConnected only; the others are made by clients.
const (
	StateExpired           KeeperState = -112
	StateDisconnected      KeeperState = 0
	StateSyncConnected     KeeperState = 3
	StateAuthFailed        KeeperState = 4
	StateConnectedReadOnly KeeperState = 5
	StateSASLAuthenticated KeeperState = 6
	StateClosed            KeeperState = 7
)

var stateNames = map[KeeperState]string{
	StateExpired:           "Expired",
	StateDisconnected:      "Disconnected",
	StateSyncConnected:     "SyncConnected",
	StateAuthFailed:        "AuthFailed",
	StateConnectedReadOnly: "ConnectedReadOnly",
	StateSASLAuthenticated: "SaslAuthenticated",
	StateClosed:            "Closed",
}

func (s KeeperState) String() string {
	if n, ok := stateNames[s]; ok {
		return n
	}
	return "KeeperState(" + strconv.Itoa(int(s)) + ")"
}

// A WatcherType says which watches checkWatches and removeWatches mean.
type WatcherType int32

// The watcher types.
const (
	WatcherChildren            WatcherType = 1
	WatcherData                WatcherType = 2
	WatcherAny                 WatcherType = 3
	WatcherPersistent          WatcherType = 4
	WatcherPersistentRecursive WatcherType = 5
)

// Valid says whether t is one of the types.
func (t WatcherType) Valid() bool { return t >= WatcherChildren && t <= WatcherPersistentRecursive }

// An AddWatchMode says what addWatch adds.
type AddWatchMode int32

// The modes of addWatch.
const (
	AddWatchPersistent          AddWatchMode = 0
	AddWatchPersistentRecursive AddWatchMode = 1
)

// Valid says whether m is one of the modes.
func (m AddWatchMode) Valid() bool {
	return m == AddWatchPersistent || m == AddWatchPersistentRecursive
}
