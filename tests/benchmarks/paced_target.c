/* A server of agent runs with a known schedule: the truth for the compared clients.
 *
 * POST /agent/workflow-actions answers with an event stream of --tokens token events and one `done`. The first
 * token is due --first-token-us after the request arrived, by the kernel's timestamp: if this thread reads it late,
 * that is lateness of the target. Each further event is due --gap-us after the one before.
 * Every event is a separate write. `t` in its data is the time at which it was written to the kernel
 * (CLOCK_MONOTONIC, ns). With both times 0 the response is a prebuilt block without `t`: a blast.
 *
 * With --api openai-chat it is POST /v1/chat/completions, whose last event is followed by [DONE] in the same write.
 *
 * GET /report returns counts and distributions; POST /reset clears the distributions. It ends on SIGTERM or after
 * --lifetime-s, and then writes the report to --report FILE too.
 *
 * One thread, one epoll, no idempotency: it is built for speed, not for conformance.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    FRAME_BYTES = 320,          /* longer than any frame with its chunk framing */
    REQUEST_BYTES = 64 * 1024,  /* head and body; the connection is closed if a client sends more */
    ACCEPT_AT_ONCE = 64,        /* a burst of connects must not delay due events */
    SEND_AT_ONCE = 256,         /* due events must not delay requests */
    MOST_LAG_S = 10,            /* more means that the wall clock was set */
    REBUILD_BLAST_S = 60,       /* the ids of a prebuilt answer stay near the wall clock */
    BIN_NS = 10 * 1000,
    BINS = 1000 * 1000,         /* 10 s in steps of 10 us; larger values count in the last */
};

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: text/event-stream; charset=utf-8\r\n"
    "Cache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";
static const char LAST_CHUNK[] = "0\r\n\r\n";

/* ---- options and clocks ---- */

static struct {
    int port;
    int tokens;
    int64_t first_token_ns;
    int64_t gap_ns;
    int lifetime_s;
    bool chat;
    const char *report;
} option = {.port = 0, .tokens = 100, .lifetime_s = 900};

static int64_t clock_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* Read once: ids from the monotonic clock increase even if the wall clock is set back. */
static int64_t wall_ahead_ns;

/* The wall clock minus the monotonic clock, now: of a few readings the one in the least time. */
static int64_t measured_ahead_ns(void)
{
    int64_t least_ns = INT64_MAX, ahead_ns = 0;
    for (int count = 0; count < 4; count++) {
        int64_t before_ns = now_ns(), wall_ns = clock_ns(CLOCK_REALTIME), took_ns = now_ns() - before_ns;
        if (took_ns < least_ns) {
            least_ns = took_ns;
            ahead_ns = wall_ns - before_ns - took_ns / 2;
        }
    }
    return ahead_ns;
}

/* ---- report ---- */

struct distribution {
    uint32_t bins[BINS];
    int64_t count, max_ns;
};
static struct distribution lateness, first_token;

static struct {
    int64_t accepted, requests, streams, events, broken_off, held_back, open;
} counted;

static void record(struct distribution *to, int64_t value_ns)
{
    int64_t bin = value_ns / BIN_NS;
    if (bin >= BINS) bin = BINS - 1;
    to->bins[bin]++;
    to->count++;
    if (value_ns > to->max_ns) to->max_ns = value_ns;
}

/* The upper edge of the nearest-rank bin, in us, at most the maximum; 0 without values. */
static double percentile_us(const struct distribution *of, double percent)
{
    int64_t rank = (int64_t)(percent / 100 * of->count + 0.999999), seen = 0;
    for (int64_t bin = 0; bin < BINS && of->count; bin++) {
        seen += of->bins[bin];
        if (seen >= rank && seen) {
            int64_t edge_ns = (bin + 1) * BIN_NS;
            return (edge_ns < of->max_ns ? edge_ns : of->max_ns) / 1e3;
        }
    }
    return 0;
}

static int write_distribution(char *to, size_t room, const char *name, const struct distribution *of)
{
    return snprintf(to, room, "\"%s\": {\"count\": %lld, \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}", name,
                    (long long)of->count, percentile_us(of, 50), percentile_us(of, 99), of->max_ns / 1e3);
}

static int write_report(char *to, size_t room)
{
    int at = snprintf(to, room,
                      "{\"accepted\": %lld, \"requests\": %lld, \"open\": %lld, \"streams\": %lld, \"events\": %lld, "
                      "\"broken_off\": %lld, \"held_back\": %lld, ",
                      (long long)counted.accepted, (long long)counted.requests, (long long)counted.open,
                      (long long)counted.streams, (long long)counted.events, (long long)counted.broken_off,
                      (long long)counted.held_back);
    at += write_distribution(to + at, room - at, "lateness_us", &lateness);
    at += snprintf(to + at, room - at, ", ");
    at += write_distribution(to + at, room - at, "first_token_us", &first_token);
    return at + snprintf(to + at, room - at, "}\n");
}

static void reset_distributions(void)
{
    memset(&lateness, 0, sizeof lateness);
    memset(&first_token, 0, sizeof first_token);
}

/* ---- frames ---- */

/* The same for OpenAI's chat completions. */
static int write_chat_event(char *to, int sequence, int64_t sent_ns, int64_t run)
{
    bool is_last = sequence >= option.tokens;
    char frame[FRAME_BYTES], stamp[32] = "", usage[48] = "";
    if (sent_ns) snprintf(stamp, sizeof stamp, ",\"t\":%lld", (long long)sent_ns);
    if (is_last) snprintf(usage, sizeof usage, ",\"usage\":{\"completion_tokens\":%d}", option.tokens);
    int length = snprintf(frame, sizeof frame,
                          "data: {\"id\":\"chatcmpl-%lld\",\"object\":\"chat.completion.chunk\",\"created\":1,"
                          "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":%s,\"finish_reason\":%s}]%s%s}\n\n%s",
                          (long long)run, is_last ? "{}" : "{\"content\":\"tok \"}", is_last ? "\"stop\"" : "null",
                          usage, stamp, is_last ? "data: [DONE]\n\n" : "");
    return sprintf(to, "%x\r\n%s\r\n", length, frame);
}

/* One event as a chunk; without `t` if sent_ns is 0. Returns its length. */
static int write_event(char *to, int64_t wall_ms, int sequence, int64_t sent_ns, int64_t run)
{
    char frame[FRAME_BYTES];
    if (option.chat) return write_chat_event(to, sequence, sent_ns, run);
    int length = snprintf(frame, sizeof frame, "id: %lld-%d\ndata: ", (long long)wall_ms, sequence);
    char *data = frame + length;
    size_t room = sizeof frame - length;
    if (sequence >= option.tokens)
        length += snprintf(data, room, "{\"type\":\"done\",\"runId\":\"run-%lld\"}\n\n", (long long)run);
    else if (sent_ns)
        length += snprintf(data, room, "{\"type\":\"token\",\"content\":\"tok \",\"t\":%lld}\n\n", (long long)sent_ns);
    else
        length += snprintf(data, room, "{\"type\":\"token\",\"content\":\"tok \"}\n\n");
    return sprintf(to, "%x\r\n%s\r\n", length, frame);
}

/* A whole response, shared by the connections it is sent on, and freed by the last. */
struct blast {
    int users;
    int64_t built_ns;
    size_t length;
    char bytes[];
};
static struct blast *current_blast;

static void release_blast(struct blast *one)
{
    if (--one->users == 0) free(one);
}

static struct blast *build_blast(void)
{
    struct blast *one = malloc(sizeof *one + sizeof STREAM_HEAD + (size_t)(option.tokens + 2) * FRAME_BYTES);
    if (!one) abort();
    one->users = 1; /* current_blast */
    one->built_ns = now_ns();
    one->length = sprintf(one->bytes, "%s", STREAM_HEAD);
    int64_t wall_ms = (one->built_ns + wall_ahead_ns) / 1000000;
    for (int sequence = 0; sequence <= option.tokens; sequence++)
        one->length += write_event(one->bytes + one->length, wall_ms, sequence, 0, wall_ms);
    one->length += sprintf(one->bytes + one->length, "%s", LAST_CHUNK);
    return one;
}

static struct blast *take_blast(void)
{
    if (current_blast && now_ns() - current_blast->built_ns > REBUILD_BLAST_S * 1000000000ll) {
        release_blast(current_blast);
        current_blast = NULL;
    }
    if (!current_blast) current_blast = build_blast();
    current_blast->users++;
    return current_blast;
}

/* ---- connections ---- */

struct connection {
    int fd;
    bool close_after;    /* the client sent Connection: close */
    bool streaming;      /* from reading a request until the last byte of its response is written */
    bool wants_writable;
    char *request;       /* received bytes, not yet answered */
    size_t request_length;
    int64_t arrived_ns;  /* when the newest of them arrived */
    struct blast *blast; /* being sent: this, from blast_sent on, or `backlog` */
    size_t blast_sent;
    char *backlog;       /* bytes that the socket did not accept */
    size_t backlog_length, backlog_room;
    int sequence;        /* of the next due event */
    int64_t request_ns, due_ns, run; /* request_ns: when the request had arrived */
    struct queue *queue; /* NULL if no event is due */
    struct connection *earlier, *later;
};

/* Streams in the order of their next due event. All first tokens are due the same time after their request, and all
 * further events the same time after the previous one, so each queue is first in, first out. */
struct queue {
    struct connection *first, *last;
};
static struct queue first_tokens, further_events;

static void enqueue(struct queue *queue, struct connection *one, int64_t due_ns)
{
    one->due_ns = due_ns;
    one->queue = queue;
    one->earlier = queue->last;
    one->later = NULL;
    *(queue->last ? &queue->last->later : &queue->first) = one;
    queue->last = one;
}

static void dequeue(struct connection *one)
{
    if (!one->queue) return;
    *(one->earlier ? &one->earlier->later : &one->queue->first) = one->later;
    *(one->later ? &one->later->earlier : &one->queue->last) = one->earlier;
    one->queue = NULL;
}

static struct connection *next_due(void)
{
    struct connection *a = first_tokens.first, *b = further_events.first;
    return !a || (b && b->due_ns < a->due_ns) ? b : a;
}

static int epoll_fd;
static void answer_next(struct connection *one);

static void hang_up(struct connection *one)
{
    dequeue(one);
    if (one->streaming) {
        counted.open--;
        counted.broken_off++;
    }
    if (one->blast) release_blast(one->blast);
    close(one->fd);
    free(one->request);
    free(one->backlog);
    one->fd = -1; /* freed at the end of this round of events: a later event may still refer to it */
}

static void watch(struct connection *one, bool writable)
{
    if (one->wants_writable == writable) return;
    one->wants_writable = writable;
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = one};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, one->fd, &event);
}

/* Returns how many bytes the socket accepted, or -1 if the connection is closed. */
static ssize_t offer(struct connection *one, const char *bytes, size_t length)
{
    ssize_t taken = send(one->fd, bytes, length, MSG_NOSIGNAL);
    return taken < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : taken;
}

static void keep_back(struct connection *one, const char *bytes, size_t length)
{
    if (one->backlog_length + length > one->backlog_room) {
        one->backlog_room = (one->backlog_length + length) * 2;
        one->backlog = realloc(one->backlog, one->backlog_room);
        if (!one->backlog) abort();
    }
    memcpy(one->backlog + one->backlog_length, bytes, length);
    one->backlog_length += length;
    watch(one, true);
}

/* Sends, and keeps what a full socket does not accept. Returns false if the connection is closed. */
static bool deliver(struct connection *one, const char *bytes, size_t length)
{
    size_t taken = 0;
    if (!one->backlog_length) {
        ssize_t sent = offer(one, bytes, length);
        if (sent < 0) {
            hang_up(one);
            return false;
        }
        taken = sent;
    }
    if (taken < length) {
        counted.held_back++;
        keep_back(one, bytes + taken, length - taken);
    }
    return true;
}

/* Once the last byte of a response is written, the next request can be answered. */
static void finish_if_written(struct connection *one)
{
    if (one->backlog_length || one->blast) return;
    watch(one, false);
    if (one->queue) return;
    if (one->streaming) {
        one->streaming = false;
        counted.open--;
        counted.streams++;
    }
    if (one->close_after) hang_up(one);
    else answer_next(one);
}

static void send_blast(struct connection *one)
{
    while (one->blast_sent < one->blast->length) {
        ssize_t sent = offer(one, one->blast->bytes + one->blast_sent, one->blast->length - one->blast_sent);
        if (sent < 0) {
            hang_up(one);
            return;
        }
        if (sent == 0) {
            watch(one, true);
            return;
        }
        one->blast_sent += sent;
    }
    release_blast(one->blast);
    one->blast = NULL;
    counted.events += option.tokens + 1 + option.chat;
    finish_if_written(one);
}

static void send_backlog(struct connection *one)
{
    ssize_t sent = offer(one, one->backlog, one->backlog_length);
    if (sent < 0) {
        hang_up(one);
        return;
    }
    one->backlog_length -= sent;
    memmove(one->backlog, one->backlog + sent, one->backlog_length);
    finish_if_written(one);
}

/* ---- requests ---- */

static void start_stream(struct connection *one)
{
    counted.open++;
    one->streaming = true;
    one->run = ++counted.requests;
    if (!option.first_token_ns && !option.gap_ns) {
        one->blast = take_blast();
        one->blast_sent = 0;
        send_blast(one);
        return;
    }
    one->sequence = 0;
    one->request_ns = one->arrived_ns;
    if (deliver(one, STREAM_HEAD, sizeof STREAM_HEAD - 1))
        enqueue(&first_tokens, one, one->request_ns + option.first_token_ns);
}

static void send_due_event(struct connection *one)
{
    char bytes[FRAME_BYTES * 2];
    int64_t sent_ns = now_ns();
    bool is_last = one->sequence == option.tokens;
    int length = write_event(bytes, (sent_ns + wall_ahead_ns) / 1000000, one->sequence, sent_ns, one->run);
    if (is_last) length += sprintf(bytes + length, "%s", LAST_CHUNK);
    record(&lateness, sent_ns - one->due_ns);
    if (one->sequence == 0) record(&first_token, sent_ns - one->request_ns);
    dequeue(one);
    if (!deliver(one, bytes, length)) return;
    counted.events += 1 + (is_last && option.chat);
    one->sequence++;
    if (is_last) finish_if_written(one);
    else enqueue(&further_events, one, one->due_ns + option.gap_ns);
}

static void answer_small(struct connection *one, const char *status, const char *body)
{
    char bytes[2048];
    int length = snprintf(bytes, sizeof bytes,
                          "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
                          strlen(body), body);
    if (deliver(one, bytes, length)) finish_if_written(one);
}

/* The value of a header field in `head`, or NULL. */
static const char *field(const char *head, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
            const char *value = line + 3 + length;
            return value + strspn(value, " \t");
        }
    }
    return NULL;
}

static void route(struct connection *one, const char *head)
{
    const char *start = option.chat ? "POST /v1/chat/completions " : "POST /agent/workflow-actions ";
    if (strncmp(head, start, strlen(start)) == 0) {
        start_stream(one);
    } else if (strncmp(head, "GET /report ", 12) == 0) {
        char report[1024];
        write_report(report, sizeof report);
        answer_small(one, "200 OK", report);
    } else if (strncmp(head, "POST /reset ", 12) == 0) {
        reset_distributions();
        answer_small(one, "200 OK", "{}\n");
    } else {
        answer_small(one, "404 Not Found", "{\"error\": \"there is only POST /agent/workflow-actions\"}\n");
    }
}

/* Answers the next complete request, unless a response is in progress. */
static void answer_next(struct connection *one)
{
    while (one->fd >= 0 && !one->streaming && one->request_length) {
        one->request[one->request_length] = 0;
        char *end = strstr(one->request, "\r\n\r\n");
        if (!end) return;
        end[2] = 0; /* ends the head after its last line; the body may contain anything */
        const char *body_length = field(one->request, "content-length");
        const char *connection = field(one->request, "connection");
        size_t length = end + 4 - one->request + (body_length ? strtoul(body_length, NULL, 10) : 0);
        one->close_after = connection && strncasecmp(connection, "close", 5) == 0;
        if (field(one->request, "transfer-encoding") || length > REQUEST_BYTES) {
            hang_up(one); /* chunked bodies are not supported */
            return;
        }
        if (length > one->request_length) {
            end[2] = '\r';
            return;
        }
        char head[64];
        snprintf(head, sizeof head, "%s", one->request);
        one->request_length -= length;
        memmove(one->request, one->request + length, one->request_length);
        route(one, head);
    }
}

/* When the bytes of a read arrived; `read_ns` without a plausible timestamp. Monotonic clock. */
static int64_t arrival_ns(struct msghdr *message, int64_t read_ns)
{
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SO_TIMESTAMPNS) continue;
        struct timespec stamp;
        memcpy(&stamp, CMSG_DATA(header), sizeof stamp);
        int64_t lag_ns = read_ns + measured_ahead_ns() - ((int64_t)stamp.tv_sec * 1000000000 + stamp.tv_nsec);
        if (lag_ns >= 0 && lag_ns < MOST_LAG_S * 1000000000ll) return read_ns - lag_ns;
    }
    return read_ns;
}

static void on_readable(struct connection *one)
{
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    if (one->request_length == REQUEST_BYTES) {
        hang_up(one);
        return;
    }
    struct iovec part = {one->request + one->request_length, REQUEST_BYTES - one->request_length};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t came = recvmsg(one->fd, &message, 0);
    if (came < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (came <= 0) {
        hang_up(one);
        return;
    }
    one->arrived_ns = arrival_ns(&message, now_ns());
    one->request_length += came;
    answer_next(one);
}

static void on_event(struct connection *one, uint32_t events)
{
    if (one->fd >= 0 && (events & EPOLLOUT)) {
        if (one->blast) send_blast(one);
        else if (one->backlog_length) send_backlog(one);
    }
    if (one->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) on_readable(one);
}

static void accept_some(int listener)
{
    for (int count = 0; count < ACCEPT_AT_ONCE; count++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *one = calloc(1, sizeof *one);
        if (!one || !(one->request = malloc(REQUEST_BYTES + 1))) abort();
        one->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
        counted.accepted++;
    }
}

/* ---- the loop ---- */

static volatile sig_atomic_t stopping;
static void stop(int number) { (void)number, stopping = 1; }

static void send_due_events(void)
{
    for (int count = 0; count < SEND_AT_ONCE; count++) {
        struct connection *one = next_due();
        if (!one || one->due_ns > now_ns()) return;
        send_due_event(one);
        if (one->fd < 0) free(one);
    }
}

static void serve(int listener, const sigset_t *while_waiting)
{
    enum { ROUND = 512 };
    struct epoll_event events[ROUND];
    while (!stopping) {
        struct connection *due = next_due();
        int64_t left_ns = due ? due->due_ns - now_ns() : 0;
        if (left_ns < 0) left_ns = 0;
        struct timespec wait = {left_ns / 1000000000, left_ns % 1000000000};
        int count = epoll_pwait2(epoll_fd, events, ROUND, due ? &wait : NULL, while_waiting);
        for (int i = 0; i < count; i++) {
            struct connection *one = events[i].data.ptr;
            if (!one) {
                accept_some(listener);
                continue;
            }
            on_event(one, events[i].events); /* each descriptor occurs once per round */
            if (one->fd < 0) free(one);
        }
        send_due_events();
    }
}

static int listen_on(int port)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on); /* so have the connections that it accepts */
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 16384) ||
        getsockname(listener, (struct sockaddr *)&address, &length)) {
        perror("cannot listen");
        exit(1);
    }
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static void read_options(int count, char **given)
{
    for (int i = 1; i < count; i += 2) {
        const char *name = given[i], *value = i + 1 < count ? given[i + 1] : "";
        char *end = "";
        if (!strcmp(name, "--report")) option.report = value;
        else if (!strcmp(name, "--api")) option.chat = !strcmp(value, "openai-chat");
        else if (!strcmp(name, "--port")) option.port = strtol(value, &end, 10);
        else if (!strcmp(name, "--tokens")) option.tokens = strtol(value, &end, 10);
        else if (!strcmp(name, "--first-token-us")) option.first_token_ns = strtoll(value, &end, 10) * 1000;
        else if (!strcmp(name, "--gap-us")) option.gap_ns = strtoll(value, &end, 10) * 1000;
        else if (!strcmp(name, "--lifetime-s")) option.lifetime_s = strtol(value, &end, 10);
        else end = "?";
        if (*end || !*value) {
            fprintf(stderr,
                    "%s %s: wrong. Options: --port N --tokens N --first-token-us N --gap-us N --lifetime-s N "
                    "--report FILE\n",
                    name, value);
            exit(2);
        }
    }
}

int main(int count, char **given)
{
    read_options(count, given);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1000);
    wall_ahead_ns = clock_ns(CLOCK_REALTIME) - now_ns();

    /* Signals are only delivered while it waits, so that none is lost between the check and the wait. */
    sigset_t blocked, while_waiting;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGALRM);
    sigprocmask(SIG_BLOCK, &blocked, &while_waiting);
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    alarm(option.lifetime_s);

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on(option.port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    serve(listener, &while_waiting);

    char report[1024];
    write_report(report, sizeof report);
    FILE *file = option.report ? fopen(option.report, "w") : stdout;
    if (!file || fputs(report, file) < 0 || fclose(file)) {
        perror("cannot write the report");
        return 1;
    }
    return 0;
}
