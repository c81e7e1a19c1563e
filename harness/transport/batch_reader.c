/* Reads every ready socket of an epoll set in one call: the load's receive path, where nearly all of its time goes.

   In Python each read costs two system calls with their conversions, an object for the kernel's timestamp and its
   arithmetic: about twice the work of decoding the event that was read. Here they cost what the kernel needs, and the
   interpreter's lock is released meanwhile, so the thread that writes results can run.

   It decides nothing: it does what `PythonReads` in ready_sockets.py does, which takes its place where it was not
   compiled, and the same tests run on both. A stream's reader of tokens (token_reader.c) gets its read at once; only
   what it does not take becomes an object. It keeps no state between calls; the caller owns the epoll set, the buffer
   and the readers. CPython's limited API: one build works with every version from 3.11 on. */

#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define MOST 256         /* sockets of one call; the others stay ready */
#define LEAST_BYTES 2048 /* of a read */

typedef long long nanoseconds;

typedef struct {
    int descriptor;
    int error;             /* errno, if the read failed */
    Py_ssize_t start, size;  /* of its bytes in the buffer */
    nanoseconds read_at;   /* monotonic clock, after the read */
    nanoseconds stamp;     /* kernel's receive time of the last segment, wall clock; 0 if there is none */
} Result;

static nanoseconds monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void read_socket(Result *result, char *into, size_t room) {
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec part = {into, room};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    result->size = recvmsg(result->descriptor, &message, MSG_DONTWAIT);
    result->error = result->size < 0 ? errno : 0;
    result->read_at = monotonic();
    result->stamp = 0;
    if (result->error)
        return;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SO_TIMESTAMPNS) {
            const struct timespec *stamp = (const struct timespec *)CMSG_DATA(header);
            result->stamp = stamp->tv_sec * 1000000000LL + stamp->tv_nsec;
        }
}

/* Reads at most `most` ready sockets, each once, into `buffer`; returns how many it tried. Needs no Python.
   complete: whether nothing was left to read when it began. */
static int read_all(int epoll, Py_buffer *buffer, int most, Py_ssize_t read_bytes, Result *results, int *complete) {
    struct epoll_event ready[MOST];
    int count = epoll_wait(epoll, ready, most, 0);
    Py_ssize_t used = 0;
    int tried = 0;
    *complete = count < most;
    for (; tried < count && buffer->len - used >= LEAST_BYTES; tried++) {
        Py_ssize_t left = buffer->len - used, room = left < read_bytes ? left : read_bytes;
        Result *result = &results[tried];
        result->descriptor = ready[tried].data.fd;
        result->start = used;
        read_socket(result, (char *)buffer->buf + used, (size_t)room);
        if (result->size > 0)
            used += result->size;
        if (result->size == room)
            *complete = 0;
    }
    if (tried < count)
        *complete = 0;
    return count < 0 ? -1 : tried;
}

/* As in harness.transport.timestamps; -1 without a usable timestamp of the kernel. */
static nanoseconds lag_of(const Result *result, nanoseconds ahead, nanoseconds earliest) {
    nanoseconds lag = result->read_at + ahead - result->stamp;
    return result->stamp && lag >= 0 && result->read_at - lag >= earliest ? lag : -1;
}

/* (descriptor, arrival, lag, bytes) of one read.
   Without the format "y#": compiled with the headers of Python 3.13, it fails in earlier versions. */
static PyObject *as_tuple(const Result *result, const char *buffer, nanoseconds lag) {
    PyObject *bytes = PyBytes_FromStringAndSize(buffer + result->start, result->size);
    if (!bytes)
        return NULL;
    if (lag >= 0)
        return Py_BuildValue("(iLLN)", result->descriptor, result->read_at - lag, lag, bytes);
    return Py_BuildValue("(iLON)", result->descriptor, result->read_at, Py_None, bytes);
}

/* Of token_reader.c; NULL where that was not compiled. */
static int (*take_read)(PyObject *reader, int64_t arrival, int64_t lag, const char *data, Py_ssize_t size);

/* Whether the stream's reader of tokens took the read; -1 with an exception. */
static int is_taken(PyObject *readers, const Result *result, const char *buffer, nanoseconds lag) {
    if (!take_read || result->size <= 0)
        return 0;
    PyObject *descriptor = PyLong_FromLong(result->descriptor);
    PyObject *reader = descriptor ? PyDict_GetItemWithError(readers, descriptor) : NULL;
    Py_XDECREF(descriptor);
    if (!reader)
        return PyErr_Occurred() ? -1 : 0;
    return take_read(reader, lag < 0 ? result->read_at : result->read_at - lag, lag, buffer + result->start, result->size);
}

static PyObject *read_ready(PyObject *module, PyObject *arguments) {
    int epoll, most, complete, count, saved, taken = 0;
    Py_ssize_t read_bytes;
    nanoseconds ahead, earliest;
    Py_buffer buffer;
    PyObject *readers;
    Result results[MOST];
    (void)module;
    if (!PyArg_ParseTuple(arguments, "iw*inLLO", &epoll, &buffer, &most, &read_bytes, &ahead, &earliest, &readers))
        return NULL;
    most = most < MOST ? most : MOST;
    Py_BEGIN_ALLOW_THREADS
    count = read_all(epoll, &buffer, most, read_bytes, results, &complete);
    saved = errno;
    Py_END_ALLOW_THREADS
    PyObject *reads = PyList_New(0), *broken = PyList_New(0), *answer = NULL;
    if (count < 0 && saved != EINTR) {
        errno = saved;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    for (int number = 0; reads && broken && number < count && !PyErr_Occurred(); number++) {
        const Result *result = &results[number];
        if (result->error == EAGAIN || result->error == EINTR)
            continue;
        nanoseconds lag = lag_of(result, ahead, earliest);
        int is_token = result->error ? 0 : is_taken(readers, result, buffer.buf, lag);
        if (is_token) {
            taken++;
            continue;
        }
        PyObject *item = result->error ? Py_BuildValue("(ii)", result->descriptor, result->error)
                                       : as_tuple(result, buffer.buf, lag);
        if (item)
            PyList_Append(result->error ? broken : reads, item);
        Py_XDECREF(item);
    }
    if (reads && broken && !PyErr_Occurred())
        answer = Py_BuildValue("(OOOi)", reads, broken, complete ? Py_True : Py_False, taken);
    Py_XDECREF(reads);
    Py_XDECREF(broken);
    PyBuffer_Release(&buffer);
    return answer;
}

static PyMethodDef functions[] = {
    {"read_ready", read_ready, METH_VARARGS, "Reads every ready socket; see harness.transport.ready_sockets."},
    {NULL, NULL, 0, NULL}};

static int execute(PyObject *module) {
    (void)module;
    PyObject *tokens = PyImport_ImportModule("harness.contract.decoding._token_reader");
    PyObject *function = tokens ? PyObject_GetAttrString(tokens, "take_read") : NULL;
    if (function)
        take_read = (int (*)(PyObject *, int64_t, int64_t, const char *, Py_ssize_t))PyCapsule_GetPointer(
            function, "take_read");
    else if (PyErr_ExceptionMatches(PyExc_ImportError))
        PyErr_Clear();
    Py_XDECREF(function);
    Py_XDECREF(tokens);
    return PyErr_Occurred() ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "harness.transport._batch_reader", NULL, 0, functions, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__batch_reader(void) { return PyModuleDef_Init(&definition); }
