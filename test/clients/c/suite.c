/*
 * Apache's C client (libzookeeper_mt) against the servers in argv[1]. It speaks to the Go test that
 * started it as driver_test.go says.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <zookeeper/zookeeper.h>

#define PATIENCE_S 60
#define SESSION_MS 20000

static const char *hosts;

/* A failed check ends its case. */
static char why[512];
#define CHECK(cond, ...)                                                                   \
	do {                                                                               \
		if (!(cond)) {                                                             \
			int n_ = snprintf(why, sizeof why, "line %d: %s: ", __LINE__, #cond); \
			if (n_ > 0 && (size_t)n_ < sizeof why)                             \
				snprintf(why + n_, sizeof why - n_, __VA_ARGS__);          \
			return;                                                            \
		}                                                                          \
	} while (0)
#define OK(rc) do { int rc_ = (rc); CHECK(rc_ == ZOK, "%s", zerror(rc_)); } while (0)
#define RC(rc, want) do { int rc_ = (rc); CHECK(rc_ == (want), "%s", zerror(rc_)); } while (0)

/* What the watchers saw, oldest first. */
struct event {
	int type, state;
	char path[256];
};

struct client {
	zhandle_t *zh;
	pthread_mutex_t mu;
	pthread_cond_t changed;
	int state, disconnects;
	struct event events[256];
	int n, taken;
};

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *context)
{
	struct client *c = context;
	(void)zh;
	pthread_mutex_lock(&c->mu);
	if (type == ZOO_SESSION_EVENT) {
		c->state = state;
		if (state != ZOO_CONNECTED_STATE)
			c->disconnects++;
	} else if (c->n < 256) {
		struct event *e = &c->events[c->n++];
		e->type = type;
		e->state = state;
		snprintf(e->path, sizeof e->path, "%s", path ? path : "");
	}
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->mu);
}

/* All waits of this program end here: true once *is(c) holds. */
static int await(struct client *c, int (*is)(struct client *))
{
	struct timespec end;
	int ok;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&c->mu);
	while (!(ok = is(c)))
		if (pthread_cond_timedwait(&c->changed, &c->mu, &end) != 0) {
			ok = is(c);
			break;
		}
	pthread_mutex_unlock(&c->mu);
	return ok;
}

static int connected(struct client *c) { return c->state == ZOO_CONNECTED_STATE; }
static int expired(struct client *c) { return c->state == ZOO_EXPIRED_SESSION_STATE; }
static int reconnected(struct client *c) { return c->disconnects > 0 && connected(c); }
static int has_event(struct client *c) { return c->taken < c->n; }

static struct client clients[16];
static int nclients;

static struct client *dial_as(const char *where, int timeout, const clientid_t *id)
{
	struct client *c = &clients[nclients++];
	memset(c, 0, sizeof *c);
	pthread_mutex_init(&c->mu, NULL);
	pthread_cond_init(&c->changed, NULL);
	c->zh = zookeeper_init(where, watcher, timeout, id, c, 0);
	if (c->zh == NULL)
		return NULL;
	return c;
}

static struct client *dial(void)
{
	struct client *c = dial_as(hosts, SESSION_MS, NULL);
	return c != NULL && await(c, connected) ? c : NULL;
}

static struct event *next(struct client *c)
{
	if (!await(c, has_event))
		return NULL;
	return &c->events[c->taken++];
}

#define EVENT(c, t, p)                                                                            \
	do {                                                                                      \
		struct event *e_ = next(c);                                                       \
		CHECK(e_ != NULL, "no event for %s", p);                                          \
		CHECK(e_->type == (t) && strcmp(e_->path, p) == 0, "event %d %s", e_->type, e_->path); \
	} while (0)

static int create(struct client *c, const char *path, const char *value, int flags)
{
	int len = value != NULL ? (int)strlen(value) : -1;
	return zoo_create(c->zh, path, value, len, &ZOO_OPEN_ACL_UNSAFE, flags, NULL, 0);
}

/* Lets c see all that other clients have written by now: its server may be behind theirs. */
static pthread_mutex_t amu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t achanged = PTHREAD_COND_INITIALIZER;
static int sync_rc;

static void on_sync(int rc, const char *value, const void *data)
{
	(void)value;
	(void)data;
	pthread_mutex_lock(&amu);
	sync_rc = rc;
	pthread_cond_broadcast(&achanged);
	pthread_mutex_unlock(&amu);
}

static int fresh(struct client *c)
{
	struct timespec end;
	int rc;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&amu);
	sync_rc = 1;
	rc = zoo_async(c->zh, "/", on_sync, NULL);
	while (rc == ZOK && sync_rc == 1 && pthread_cond_timedwait(&achanged, &amu, &end) == 0)
		;
	if (rc == ZOK)
		rc = sync_rc;
	pthread_mutex_unlock(&amu);
	return rc;
}

static void nodes(void)
{
	struct client *c = dial();
	char buf[64], path[64];
	int len = sizeof buf;
	struct Stat st;
	CHECK(c != NULL, "no connection");
	OK(create(c, "/c", "one", 0));
	RC(create(c, "/c", "one", 0), ZNODEEXISTS);
	RC(create(c, "/none/x", "one", 0), ZNONODE);
	OK(zoo_get(c->zh, "/c", 0, buf, &len, &st));
	CHECK(len == 3 && memcmp(buf, "one", 3) == 0, "%d bytes", len);
	CHECK(st.version == 0 && st.dataLength == 3 && st.numChildren == 0 && st.czxid == st.mzxid, "version %d", st.version);
	OK(zoo_set2(c->zh, "/c", "three", 5, 0, &st));
	CHECK(st.version == 1 && st.mzxid > st.czxid, "version %d", st.version);
	RC(zoo_set(c->zh, "/c", "x", 1, 0), ZBADVERSION);
	RC(zoo_set(c->zh, "/none", "x", 1, -1), ZNONODE);
	RC(zoo_exists(c->zh, "/none", 0, &st), ZNONODE);
	OK(zoo_exists(c->zh, "/c", 0, &st));
	CHECK(st.dataLength == 5, "%d", st.dataLength);

	/* No data and empty data are two things. */
	OK(create(c, "/c/null", NULL, 0));
	len = sizeof buf;
	OK(zoo_get(c->zh, "/c/null", 0, buf, &len, &st));
	CHECK(len == -1, "%d", len);
	OK(create(c, "/c/empty", "", 0));
	len = sizeof buf;
	OK(zoo_get(c->zh, "/c/empty", 0, buf, &len, &st));
	CHECK(len == 0, "%d", len);

	OK(zoo_create2(c->zh, "/c/s-", "s", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, path, sizeof path, &st));
	CHECK(strcmp(path, "/c/s-0000000002") == 0 && st.dataLength == 1, "%s", path);
	struct String_vector kids;
	OK(zoo_get_children2(c->zh, "/c", 0, &kids, &st));
	CHECK(kids.count == 3 && st.numChildren == 3 && st.cversion == 3, "%d children", kids.count);
	deallocate_String_vector(&kids);
	OK(zoo_get_children(c->zh, "/c", 0, &kids));
	CHECK(kids.count == 3, "%d children", kids.count);
	deallocate_String_vector(&kids);

	RC(zoo_delete(c->zh, "/c", -1), ZNOTEMPTY);
	OK(zoo_delete(c->zh, "/c/null", 0));
	OK(zoo_delete(c->zh, "/c/empty", -1));
	OK(zoo_delete(c->zh, "/c/s-0000000002", -1));
	RC(zoo_delete(c->zh, "/c", 0), ZBADVERSION);
	OK(zoo_delete(c->zh, "/c", 1));
	RC(zoo_delete(c->zh, "/c", -1), ZNONODE);
}

static void big_value(void)
{
	struct client *c = dial();
	enum { SIZE = 1000000 };
	char *v = malloc(SIZE), *w = malloc(SIZE);
	int len = SIZE;
	struct Stat st;
	CHECK(c != NULL && v != NULL && w != NULL, "no connection");
	for (int i = 0; i < SIZE; i++)
		v[i] = (char)(i * 31);
	OK(zoo_create(c->zh, "/big", v, SIZE, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
	OK(zoo_get(c->zh, "/big", 0, w, &len, &st));
	CHECK(len == SIZE && memcmp(v, w, SIZE) == 0, "%d bytes", len);
	free(v);
	free(w);
}

static void ephemeral_sequential(void)
{
	struct client *a = dial(), *b = dial();
	char path[64];
	struct Stat st;
	CHECK(a != NULL && b != NULL, "no connection");
	OK(create(a, "/eph", "", 0));
	for (int i = 0; i < 3; i++) {
		char want[64];
		OK(zoo_create(a->zh, "/eph/n-", "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL | ZOO_SEQUENCE, path, sizeof path));
		snprintf(want, sizeof want, "/eph/n-%010d", i);
		CHECK(strcmp(path, want) == 0, "%s", path);
	}
	OK(fresh(b));
	OK(zoo_exists(b->zh, path, 0, &st));
	CHECK(st.ephemeralOwner == zoo_client_id(a->zh)->client_id, "owner 0x%llx", (long long)st.ephemeralOwner);
	RC(create(b, "/eph/n-0000000000/x", "", 0), ZNOCHILDRENFOREPHEMERALS);
	OK(zoo_wexists(b->zh, path, watcher, b, &st));
	OK(zookeeper_close(a->zh));
	a->zh = NULL;
	EVENT(b, ZOO_DELETED_EVENT, path);
	OK(zoo_exists(b->zh, "/eph", 0, &st));
	CHECK(st.numChildren == 0, "%d children are left", st.numChildren);
}

static void watches(void)
{
	struct client *a = dial(), *b = dial();
	char buf[16];
	int len = sizeof buf;
	struct Stat st;
	struct String_vector kids;
	CHECK(a != NULL && b != NULL, "no connection");
	RC(zoo_wexists(a->zh, "/w", watcher, a, &st), ZNONODE);
	OK(create(b, "/w", "0", 0));
	EVENT(a, ZOO_CREATED_EVENT, "/w");
	OK(zoo_wget(a->zh, "/w", watcher, a, buf, &len, &st));
	OK(zoo_set(b->zh, "/w", "1", 1, -1));
	EVENT(a, ZOO_CHANGED_EVENT, "/w");
	OK(zoo_wget_children(a->zh, "/w", watcher, a, &kids));
	deallocate_String_vector(&kids);
	OK(create(b, "/w/k", "", 0));
	EVENT(a, ZOO_CHILD_EVENT, "/w");
	OK(zoo_wexists(a->zh, "/w/k", watcher, a, &st));
	OK(zoo_delete(b->zh, "/w/k", -1));
	EVENT(a, ZOO_DELETED_EVENT, "/w/k");
	CHECK(!has_event(a), "an event too many");
	/* A watch that was taken back says nothing. */
	OK(zoo_wget(a->zh, "/w", watcher, a, buf, &len, &st));
	OK(zoo_remove_watches(a->zh, "/w", ZWATCHTYPE_DATA, watcher, a, 0));
	OK(zoo_set(b->zh, "/w", "2", 1, -1));
	RC(zoo_wexists(a->zh, "/w/end", watcher, a, &st), ZNONODE);
	OK(create(b, "/w/end", "", 0));
	struct event *e;
	while ((e = next(a)) != NULL && strcmp(e->path, "/w/end") != 0)
		CHECK(e->type != ZOO_CHANGED_EVENT, "the removed watch fired");
	CHECK(e != NULL, "no event");
}

static void multi(void)
{
	struct client *c = dial();
	zoo_op_t ops[5];
	zoo_op_result_t res[5];
	char p1[64], p2[64];
	struct Stat st;
	CHECK(c != NULL, "no connection");
	OK(create(c, "/m", "0", 0));
	zoo_create_op_init(&ops[0], "/m/a", "a", 1, &ZOO_OPEN_ACL_UNSAFE, 0, p1, sizeof p1);
	zoo_create_op_init(&ops[1], "/m/s-", "s", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE | ZOO_EPHEMERAL, p2, sizeof p2);
	zoo_set_op_init(&ops[2], "/m", "1", 1, 0, &st);
	zoo_check_op_init(&ops[3], "/m", 1);
	zoo_delete_op_init(&ops[4], "/m/a", 0);
	OK(zoo_multi(c->zh, 5, ops, res));
	for (int i = 0; i < 5; i++)
		CHECK(res[i].err == ZOK, "part %d: %s", i, zerror(res[i].err));
	CHECK(strcmp(p2, "/m/s-0000000001") == 0, "%s", p2);
	CHECK(st.version == 1, "version %d", st.version);
	RC(zoo_exists(c->zh, "/m/a", 0, &st), ZNONODE);
	OK(zoo_exists(c->zh, p2, 0, &st));

	zoo_create_op_init(&ops[0], "/m/b", "b", 1, &ZOO_OPEN_ACL_UNSAFE, 0, p1, sizeof p1);
	zoo_check_op_init(&ops[1], "/m", 7);
	zoo_set_op_init(&ops[2], "/m", "2", 1, -1, &st);
	RC(zoo_multi(c->zh, 3, ops, res), ZBADVERSION);
	CHECK(res[0].err == ZOK && res[1].err == ZBADVERSION && res[2].err == ZRUNTIMEINCONSISTENCY,
	      "%d %d %d", res[0].err, res[1].err, res[2].err);
	RC(zoo_exists(c->zh, "/m/b", 0, &st), ZNONODE);
	OK(zoo_exists(c->zh, "/m", 0, &st));
	CHECK(st.version == 1, "version %d", st.version);
}

/* The asynchronous calls: a thousand under way, answered in order. */
static int answered, disorder, failed;

static void on_create(int rc, const char *value, const void *data)
{
	char want[64];
	pthread_mutex_lock(&amu);
	snprintf(want, sizeof want, "/async/n-%010d", answered);
	if (rc != ZOK)
		failed++;
	else if ((long)data != answered || strcmp(value, want) != 0)
		disorder++;
	answered++;
	pthread_cond_broadcast(&achanged);
	pthread_mutex_unlock(&amu);
}

static void async(void)
{
	struct client *c = dial();
	struct Stat st;
	struct timespec end;
	enum { N = 1000 };
	CHECK(c != NULL, "no connection");
	OK(create(c, "/async", "", 0));
	for (long i = 0; i < N; i++)
		OK(zoo_acreate(c->zh, "/async/n-", "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, on_create, (void *)i));
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&amu);
	while (answered < N && pthread_cond_timedwait(&achanged, &amu, &end) == 0)
		;
	pthread_mutex_unlock(&amu);
	CHECK(answered == N && failed == 0 && disorder == 0, "%d answers, %d failed, %d out of order", answered, failed, disorder);
	OK(zoo_exists(c->zh, "/async", 0, &st));
	CHECK(st.numChildren == N, "%d children", st.numChildren);
}

static pthread_mutex_t authmu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t authdone = PTHREAD_COND_INITIALIZER;
static int authrc;

static void on_auth(int rc, const void *data)
{
	(void)data;
	pthread_mutex_lock(&authmu);
	authrc = rc;
	pthread_cond_broadcast(&authdone);
	pthread_mutex_unlock(&authmu);
}

static int add_auth(struct client *c, const char *scheme, const char *cert)
{
	struct timespec end;
	int rc;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&authmu);
	authrc = 1;
	rc = zoo_add_auth(c->zh, scheme, cert, (int)strlen(cert), on_auth, NULL);
	while (rc == ZOK && authrc == 1 && pthread_cond_timedwait(&authdone, &authmu, &end) == 0)
		;
	if (rc == ZOK)
		rc = authrc;
	pthread_mutex_unlock(&authmu);
	return rc;
}

static void acl(void)
{
	struct client *a = dial(), *b = dial(), *bad = dial();
	char buf[16];
	int len = sizeof buf;
	struct Stat st;
	struct ACL_vector acls;
	CHECK(a != NULL && b != NULL && bad != NULL, "no connection");
	OK(add_auth(a, "digest", "user:password"));
	OK(zoo_create(a->zh, "/acl", "x", 1, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
	OK(fresh(b));
	RC(zoo_get(b->zh, "/acl", 0, buf, &len, &st), ZNOAUTH);
	RC(zoo_set(b->zh, "/acl", "y", 1, -1), ZNOAUTH);
	OK(zoo_get_acl(a->zh, "/acl", &acls, &st));
	CHECK(acls.count == 1 && acls.data[0].perms == ZOO_PERM_ALL && strcmp(acls.data[0].id.scheme, "digest") == 0 &&
	      strcmp(acls.data[0].id.id, "user:tpUq/4Pn5A64fVZyQ0gOJ8ZWqkY=") == 0, "%d entries", acls.count);
	deallocate_ACL_vector(&acls);
	OK(add_auth(b, "digest", "user:password"));
	len = sizeof buf;
	OK(zoo_get(b->zh, "/acl", 0, buf, &len, &st));
	OK(zoo_set_acl(b->zh, "/acl", 0, &ZOO_READ_ACL_UNSAFE));
	RC(zoo_set(a->zh, "/acl", "y", 1, -1), ZNOAUTH);
	RC(add_auth(bad, "nosuch", "x"), ZAUTHFAILED);
}

/* Says line to the Go test and returns its answer. */
static char answer[64];
static const char *ask(const char *word, int port)
{
	if (port)
		printf("@%s %d\n", word, port);
	else
		printf("@%s\n", word);
	fflush(stdout);
	if (fgets(answer, sizeof answer, stdin) == NULL)
		answer[0] = 0;
	return answer;
}

static int port_of(struct client *c)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof sa;
	if (zookeeper_get_connected_host(c->zh, (struct sockaddr *)&sa, &len) == NULL)
		return 0;
	return ntohs(sa.sin_port);
}

static void server_dies(void)
{
	struct client *a = dial(), *b;
	char buf[16];
	int len = sizeof buf, port;
	struct Stat st;
	struct String_vector kids;
	int64_t id;
	CHECK(a != NULL, "no connection");
	OK(create(a, "/d", "0", 0));
	OK(create(a, "/d/eph", "mine", ZOO_EPHEMERAL));
	OK(zoo_wget(a->zh, "/d", watcher, a, buf, &len, &st));
	OK(zoo_wget_children(a->zh, "/d", watcher, a, &kids));
	deallocate_String_vector(&kids);
	RC(zoo_wexists(a->zh, "/d/later", watcher, a, &st), ZNONODE);
	id = zoo_client_id(a->zh)->client_id;

	port = port_of(a);
	CHECK(port != 0, "no port");
	ask("kill", port);
	CHECK(await(a, reconnected), "not connected again");
	CHECK(zoo_client_id(a->zh)->client_id == id, "another session");
	CHECK(port_of(a) != port, "connected to a dead server");
	OK(zoo_exists(a->zh, "/d/eph", 0, &st));
	CHECK(st.ephemeralOwner == id, "owner 0x%llx", (long long)st.ephemeralOwner);
	CHECK(!has_event(a), "event %d %s though nothing changed", a->events[0].type, a->events[0].path);

	/* The client has set its watches again by itself. */
	b = dial();
	CHECK(b != NULL, "no connection");
	OK(zoo_set(b->zh, "/d", "1", 1, -1));
	EVENT(a, ZOO_CHANGED_EVENT, "/d");
	OK(create(b, "/d/later", "", 0));
	int created = 0, child = 0;
	for (int i = 0; i < 2; i++) {
		struct event *e = next(a);
		CHECK(e != NULL, "no event");
		created += e->type == ZOO_CREATED_EVENT && strcmp(e->path, "/d/later") == 0;
		child += e->type == ZOO_CHILD_EVENT && strcmp(e->path, "/d") == 0;
	}
	CHECK(created == 1 && child == 1, "created %d child %d", created, child);
	ask("start", port);
}

/* A change that comes while the client has no server fires its watch when it is back. */
static void changed_meanwhile(void)
{
	struct client *a, *b;
	char one[64], *comma;
	char buf[16];
	int len = sizeof buf, port;
	struct Stat st;
	snprintf(one, sizeof one, "%s", hosts);
	if ((comma = strchr(one, ',')) != NULL)
		*comma = 0;
	port = atoi(strchr(one, ':') + 1);
	a = dial_as(one, SESSION_MS, NULL); /* knows only the first server */
	CHECK(a != NULL && await(a, connected), "no connection");
	OK(create(a, "/meanwhile", "0", 0));
	OK(zoo_wget(a->zh, "/meanwhile", watcher, a, buf, &len, &st));
	ask("kill", port);
	b = dial();
	CHECK(b != NULL, "no connection");
	OK(zoo_set(b->zh, "/meanwhile", "1", 1, -1));
	ask("start", port);
	CHECK(await(a, reconnected), "not connected again");
	EVENT(a, ZOO_CHANGED_EVENT, "/meanwhile");
}

/* A session that another handle closed is expired for this one, which is told. */
static void session_expires(void)
{
	struct client *a = dial(), *b;
	clientid_t id;
	struct Stat st;
	CHECK(a != NULL, "no connection");
	OK(create(a, "/expires", "", ZOO_EPHEMERAL));
	id = *zoo_client_id(a->zh);
	b = dial_as(hosts, SESSION_MS, &id);
	CHECK(b != NULL && await(b, connected), "the session can't be taken over");
	CHECK(zoo_client_id(b->zh)->client_id == id.client_id, "another session");
	OK(zookeeper_close(b->zh));
	b->zh = NULL;
	CHECK(await(a, expired), "not told");
	b = dial();
	CHECK(b != NULL, "no connection");
	RC(zoo_exists(b->zh, "/expires", 0, &st), ZNONODE);
}

/*
 * What the following cases have in common: clients on one server, each with a thread that takes turns until it is told
 * to stop, and the server dies and comes back meanwhile. A turn whose answer was lost may have had its effect.
 */
enum { WORKERS = 3, NAMES = 1 << 15, BURST = 50 };

struct worker {
	struct client *c;
	pthread_t thread;
	int id;
	int (*turn)(struct worker *); /* what came of it */
	int asked, answered, acked;
	int bad, worst; /* answers that are neither ZOK nor that of a lost connection, and one of them */
	char *state;    /* of each name: ASKED, and then ACKED or LOST */
};
enum { ASKED = 1, ACKED, LOST };

static struct worker workers[WORKERS];
static pthread_mutex_t wmu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wchanged = PTHREAD_COND_INITIALIZER;
static int wstop;

static int is_lost(int rc)
{
	return rc == ZCONNECTIONLOSS || rc == ZOPERATIONTIMEOUT || rc == ZCLOSING;
}

/* Takes down what came of the turn for a name. Under wmu. */
static void take_down(struct worker *w, int name, int rc)
{
	if (rc == ZOK) {
		w->state[name] = ACKED;
		w->acked++;
	} else if (is_lost(rc)) {
		w->state[name] = LOST;
	} else {
		w->bad++;
		w->worst = rc;
	}
	pthread_cond_broadcast(&wchanged);
}

/* One turn after the other, each of which waits for its answer. */
static void *take_turns(void *arg)
{
	struct worker *w = arg;
	pthread_mutex_lock(&wmu);
	while (!wstop && !w->bad && w->asked < NAMES) {
		int name = w->asked++, rc;
		w->state[name] = ASKED;
		pthread_mutex_unlock(&wmu);
		rc = w->turn(w);
		if (is_lost(rc))
			usleep(10000); /* until it is connected again */
		pthread_mutex_lock(&wmu);
		take_down(w, name, rc);
	}
	pthread_mutex_unlock(&wmu);
	return NULL;
}

/* Waits until each worker had more answers than it has, or one of them a bad one. */
static int more_turns(int more)
{
	struct timespec end;
	int want[WORKERS], ok = 0, bad = 0;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&wmu);
	for (int i = 0; i < WORKERS; i++)
		want[i] = workers[i].acked + more;
	for (;;) {
		ok = 1;
		for (int i = 0; i < WORKERS; i++) {
			ok = ok && workers[i].acked >= want[i];
			bad += workers[i].bad;
		}
		if (ok || bad || pthread_cond_timedwait(&wchanged, &wmu, &end) != 0)
			break;
	}
	pthread_mutex_unlock(&wmu);
	return ok && !bad;
}

/* A connect string that begins with the server that is to die, another one in each case. */
static const char *victims_first(int *port)
{
	static char out[256];
	static int turn;
	char copy[256], *list[16], *save, *h;
	int n = 0, first;
	snprintf(copy, sizeof copy, "%s", hosts);
	for (h = strtok_r(copy, ",", &save); h != NULL && n < 16; h = strtok_r(NULL, ",", &save))
		list[n++] = h;
	first = turn++ % n;
	out[0] = 0;
	for (int i = 0; i < n; i++) {
		size_t at = strlen(out);
		snprintf(out + at, sizeof out - at, "%s%s", i > 0 ? "," : "", list[(first + i) % n]);
	}
	*port = atoi(strchr(list[first], ':') + 1);
	return out;
}

/* Runs a thread for each worker while their server dies and comes back, and ends them. */
static void work(void *(*body)(void *), int (*turn)(struct worker *))
{
	int port, turns;
	const char *where = victims_first(&port);
	wstop = 0;
	zoo_deterministic_conn_order(1);
	for (int i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];
		free(w->state);
		memset(w, 0, sizeof *w);
		w->id = i;
		w->turn = turn;
		w->state = calloc(NAMES, 1);
		w->c = dial_as(where, SESSION_MS, NULL);
		CHECK(w->state != NULL && w->c != NULL && await(w->c, connected), "no connection");
		CHECK(port_of(w->c) == port, "connected to %d", port_of(w->c));
	}
	zoo_deterministic_conn_order(0);
	for (int i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&workers[i].thread, NULL, body, &workers[i]) == 0, "no thread");
	if ((turns = more_turns(20))) {
		ask("kill", port);
		if ((turns = more_turns(20))) {
			ask("start", port);
			turns = more_turns(20);
		}
	}
	pthread_mutex_lock(&wmu);
	wstop = 1;
	pthread_mutex_unlock(&wmu);
	for (int i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];
		pthread_join(w->thread, NULL);
		CHECK(w->bad == 0, "%d bad answers: %s", w->bad, zerror(w->worst));
		CHECK(w->c->disconnects > 0 && port_of(w->c) != port, "worker %d did not lose its server", i);
	}
	CHECK(turns, "no answers");
}

/* Holds the children of dir against what the workers know: no name that was answered is missing, and none is there
   that nobody asked for. */
static void check_names(const char *dir, struct client *c)
{
	struct String_vector kids;
	int there[WORKERS] = {0};
	OK(fresh(c));
	OK(zoo_get_children(c->zh, dir, 0, &kids));
	for (int i = 0; i < kids.count; i++) {
		int id, name;
		CHECK(sscanf(kids.data[i], "%d-%d", &id, &name) == 2 && id >= 0 && id < WORKERS && name >= 0 && name < workers[id].asked,
		      "%s was never asked for", kids.data[i]);
		there[id] += workers[id].state[name] == ACKED;
	}
	deallocate_String_vector(&kids);
	for (int i = 0; i < WORKERS; i++)
		CHECK(there[i] == workers[i].acked, "worker %d: %d were answered, %d of them are in %s", i, workers[i].acked, there[i], dir);
}

static void name_of(char *out, size_t len, const char *dir, struct worker *w, int name)
{
	snprintf(out, len, "%s/%d-%d", dir, w->id, name);
}

static int multi_turn(struct worker *w)
{
	zoo_op_t ops[3];
	zoo_op_result_t res[3];
	char a[64], b[64];
	struct Stat st;
	name_of(a, sizeof a, "/md/a", w, w->asked - 1);
	name_of(b, sizeof b, "/md/b", w, w->asked - 1);
	zoo_create_op_init(&ops[0], a, "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
	zoo_create_op_init(&ops[1], b, "x", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0);
	zoo_set_op_init(&ops[2], "/md", "x", 1, -1, &st);
	return zoo_multi(w->c->zh, 3, ops, res);
}

/* Transactions while the server dies: each is carried out whole or not at all. */
static void multi_dies(void)
{
	struct client *c = dial();
	struct Stat a, b, all;
	CHECK(c != NULL, "no connection");
	OK(create(c, "/md", "", 0));
	OK(create(c, "/md/a", "", 0));
	OK(create(c, "/md/b", "", 0));
	work(take_turns, multi_turn);
	if (why[0])
		return;
	check_names("/md/a", c);
	check_names("/md/b", c);
	if (why[0])
		return;
	OK(zoo_exists(c->zh, "/md/a", 0, &a));
	OK(zoo_exists(c->zh, "/md/b", 0, &b));
	OK(zoo_exists(c->zh, "/md", 0, &all));
	CHECK(a.numChildren == b.numChildren && all.version == a.numChildren, "%d, %d and version %d", a.numChildren, b.numChildren, all.version);
	/* The ephemerals outlived the server, and go with their sessions. */
	for (int i = 0; i < WORKERS; i++) {
		OK(zookeeper_close(workers[i].c->zh));
		workers[i].c->zh = NULL;
	}
	OK(fresh(c));
	OK(zoo_exists(c->zh, "/md/b", 0, &b));
	CHECK(b.numChildren == 0, "%d ephemerals are left", b.numChildren);
}

static void on_made(int rc, const char *value, const void *data)
{
	struct worker *w = &workers[(long)data / NAMES];
	int name = (long)data % NAMES;
	(void)value;
	pthread_mutex_lock(&wmu);
	/* Answers come in the order of the requests, those included that a lost connection gives. */
	if (name != w->answered++) {
		w->bad++;
		w->worst = ZRUNTIMEINCONSISTENCY;
	}
	take_down(w, name, rc);
	pthread_mutex_unlock(&wmu);
}

/* Sends a burst, and the next one when all of it is answered. */
static void *pipeline(void *arg)
{
	struct worker *w = arg;
	pthread_mutex_lock(&wmu);
	while (!wstop && !w->bad && w->asked + BURST <= NAMES) {
		for (int i = 0; i < BURST; i++) {
			char path[64];
			int name = w->asked++, rc;
			w->state[name] = ASKED;
			name_of(path, sizeof path, "/ad", w, name);
			pthread_mutex_unlock(&wmu);
			rc = zoo_acreate(w->c->zh, path, "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, on_made, (void *)(long)(w->id * NAMES + name));
			pthread_mutex_lock(&wmu);
			if (rc != ZOK) {
				w->bad++;
				w->worst = rc;
			}
		}
		while (!w->bad && w->answered < w->asked)
			pthread_cond_wait(&wchanged, &wmu);
		pthread_mutex_unlock(&wmu);
		usleep(20000); /* so that the names fit into one answer in the end */
		pthread_mutex_lock(&wmu);
	}
	pthread_mutex_unlock(&wmu);
	return NULL;
}

/* Many requests of each client are under way when its server dies. */
static void async_dies(void)
{
	struct client *c = dial();
	CHECK(c != NULL, "no connection");
	OK(create(c, "/ad", "", 0));
	work(pipeline, NULL);
	if (why[0])
		return;
	check_names("/ad", c);
}

static void run(const char *name, void (*f)(void))
{
	why[0] = 0;
	nclients = 0;
	f();
	for (int i = 0; i < nclients; i++)
		if (clients[i].zh != NULL)
			zookeeper_close(clients[i].zh);
	if (why[0])
		printf("fail %s: %s\n", name, why);
	else
		printf("ok %s\n", name);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	hosts = argv[1];
	zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
	run("nodes", nodes);
	run("big_value", big_value);
	run("ephemeral_sequential", ephemeral_sequential);
	run("watches", watches);
	run("multi", multi);
	run("async", async);
	run("acl", acl);
	run("server_dies", server_dies);
	ask("restore", 0);
	run("changed_meanwhile", changed_meanwhile);
	ask("restore", 0);
	run("multi_dies", multi_dies);
	ask("restore", 0);
	run("async_dies", async_dies);
	ask("restore", 0);
	run("session_expires", session_expires);
	return 0;
}
