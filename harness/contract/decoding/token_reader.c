/* Takes the reads of a stream that hold nothing but plain tokens: most of a load's reads, and nearly all of its decoding.

   In Python a read with one token costs five calls, a pattern, five numbers and two buffers; a read with hundreds, an
   object for each chunk and each line. Here a read is compared with the layout of the stream's first token, and is
   added to the log of the stream if it is written alike.

   It decides nothing: whatever is not certainly a plain token with a greater id is left to the decoders in Python, which
   do without it where it was not compiled; the same tests run on both. It calls no other code, and keeps nothing but
   the counts of one stream. batch_reader.c calls `take_read` for what it has read, without an object for each read.
   CPython's limited API: one build works with every version from 3.11 on. */

#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stdint.h>
#include <string.h>

#define MOST_DIGITS 18   /* of a number, which fits in 64 bits */
#define MOST_TEXT 4000   /* bytes of a string */
#define MOST_FREE 200    /* bytes of a line that may hold anything */

typedef const unsigned char *Place;

typedef struct {
    long long ms, seq;
} Position;

typedef struct {
    PyObject_HEAD
    PyObject *data, *numbers; /* bytearrays of a ReadLog; NULL once closed */
    PyObject *layout;         /* bytes, see token_layout.py; NULL while anything but a token may follow */
    Position last;            /* greatest id so far */
    long long events, tokens; /* taken here */
    long long limit;          /* of the log; no read is taken that makes it larger */
} Reader;

typedef struct {
    int64_t arrival, lag;
    uint32_t size, tokens;
} Record; /* as in read_log.py */

static int is_digit(unsigned char one) { return one >= '0' && one <= '9'; }

static int hex_value(unsigned char one) {
    if (is_digit(one))
        return one - '0';
    one |= 0x20;
    return one >= 'a' && one <= 'f' ? one - 'a' + 10 : -1;
}

/* Each of these returns the place after what it matches, or NULL. */

static Place after_digits(Place at, Place end, int most, long long *value) {
    Place start = at;
    long long number = 0;
    while (at < end && is_digit(*at) && at - start < most)
        number = number * 10 + (*at++ - '0');
    *value = number;
    return at == start || (at < end && is_digit(*at)) ? NULL : at;
}

static Place after_json_digits(Place at, Place end, int most, long long *value) {
    Place after = after_digits(at, end, most, value);
    return after && *at == '0' && after - at > 1 ? NULL : after;
}

static Place after_number(Place at, Place end, int whole_digits, int fraction_digits) {
    long long ignored;
    if (at < end && *at == '-')
        at++;
    at = after_json_digits(at, end, whole_digits, &ignored);
    if (at && fraction_digits && at < end && *at == '.')
        at = after_digits(at + 1, end, fraction_digits, &ignored);
    return at;
}

/* One character of two to four bytes in UTF-8 (RFC 3629, section 4). */
static Place after_utf8(Place at, Place end) {
    unsigned char first = *at, low = 0x80, high = 0xbf;
    int more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (first < 0xc2 || first > 0xf4 || end - at <= more)
        return NULL;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (at[1] < low || at[1] > high)
        return NULL;
    for (int number = 2; number <= more; number++)
        if ((at[number] & 0xc0) != 0x80)
            return NULL;
    return at + more + 1;
}

/* An escape of JSON (RFC 8259, section 7), but not of a surrogate. */
static Place after_escape(Place at, Place end) {
    if (end - at >= 2 && at[1] && strchr("\"\\/bfnrt", at[1]))
        return at + 2;
    if (end - at < 6 || at[1] != 'u')
        return NULL;
    int code = 0;
    for (int number = 2; number < 6; number++) {
        int value = hex_value(at[number]);
        if (value < 0)
            return NULL;
        code = code * 16 + value;
    }
    return code >= 0xd800 && code <= 0xdfff ? NULL : at + 6;
}

/* What is between the quotes of a string of JSON. */
static Place after_text(Place at, Place end) {
    Place start = at;
    while (at && at < end && *at != '"' && at - start <= MOST_TEXT) {
        if (*at >= 0x80)
            at = after_utf8(at, end);
        else if (*at == '\\')
            at = after_escape(at, end);
        else
            at = *at < 0x20 || *at == 0x7f ? NULL : at + 1;
    }
    return at && at < end && *at == '"' ? at : NULL;
}

static Place after_free_line(Place at, Place end) {
    Place start = at;
    while (at < end && *at >= 0x20 && *at < 0x7f && at - start <= MOST_FREE)
        at++;
    return at - start <= MOST_FREE ? at : NULL;
}

/* One frame like the first token, with an id that is greater than `last`, which it becomes. */
static Place after_frame(PyObject *layout, Place at, Place end, Position *last, int *has_content) {
    Place step = (Place)PyBytes_AsString(layout), steps_end = step + PyBytes_Size(layout);
    Position own = {0, 0};
    int has_id = 0;
    while (step < steps_end && at) {
        Place start = at;
        switch (*step++) {
        case 'L': { /* these bytes */
            int size = step[0] | step[1] << 8;
            at = end - at >= size && memcmp(at, step + 2, size) == 0 ? at + size : NULL;
            step += 2 + size;
            break;
        }
        case 'I': /* an id <ms>-<seq> */
            at = after_digits(at, end, MOST_DIGITS, &own.ms);
            at = at && at < end && *at == '-' ? after_digits(at + 1, end, MOST_DIGITS, &own.seq) : NULL;
            has_id = 1;
            break;
        case 'N': /* an id that is a number */
            at = after_digits(at, end, MOST_DIGITS, &own.ms);
            has_id = 1;
            break;
        case 'n': /* the same in JSON */
            at = after_json_digits(at, end, MOST_DIGITS, &own.ms);
            has_id = 1;
            break;
        case 'C': /* the content, perhaps none */
        case 'T': /* the content */
            at = after_text(at, end);
            *has_content = at != start;
            if (step[-1] == 'T' && !*has_content)
                return NULL;
            break;
        case 'S': /* some string */
            at = after_text(at, end);
            break;
        case 'D': /* some integer */
            at = after_number(at, end, MOST_DIGITS, 0);
            break;
        case 'F': /* some number */
            at = after_number(at, end, 15, 17);
            break;
        case 'X': /* the rest of a line */
            at = after_free_line(at, end);
            break;
        default:
            return NULL;
        }
    }
    if (at && has_id) {
        if (own.ms < last->ms || (own.ms == last->ms && own.seq <= last->seq))
            return NULL;
        *last = own;
    }
    return at;
}

/* One chunk (RFC 9112, section 7.1) of whole frames; adds their number and that of their tokens with content. */
static Place after_chunk(PyObject *layout, Place at, Place end, Position *last, long long *events, long long *tokens) {
    Place start = at;
    size_t size = 0;
    for (int value; at < end && at - start < 8 && (value = hex_value(*at)) >= 0; at++)
        size = size * 16 + (size_t)value;
    if (at == start || end - at < 4 || at[0] != '\r' || at[1] != '\n')
        return NULL;
    at += 2;
    if (!size || (size_t)(end - at) < size + 2)
        return NULL;
    Place chunk_end = at + size;
    while (at && at < chunk_end) {
        int has_content = 0;
        at = after_frame(layout, at, chunk_end, last, &has_content);
        *events += 1;
        *tokens += has_content;
    }
    return at == chunk_end && at[0] == '\r' && at[1] == '\n' ? at + 2 : NULL;
}

static int append(PyObject *array, const void *bytes, Py_ssize_t size) {
    Py_ssize_t before = PyByteArray_Size(array);
    if (PyByteArray_Resize(array, before + size) < 0)
        return -1;
    memcpy(PyByteArray_AsString(array) + before, bytes, (size_t)size);
    return 0;
}

/* -1 if no read was logged. */
static int64_t last_arrival(const Reader *reader) {
    Py_ssize_t size = PyByteArray_Size(reader->numbers);
    int64_t arrival = -1;
    if (size >= (Py_ssize_t)sizeof(Record))
        memcpy(&arrival, PyByteArray_AsString(reader->numbers) + size - sizeof(Record), sizeof arrival);
    return arrival;
}

static PyTypeObject *reader_type;

/* Takes a read; lag: -1 without a kernel timestamp. 1: it was taken, 0: it was not, -1: with an exception. */
static int take_read(PyObject *reader, int64_t arrival, int64_t lag, const char *data, Py_ssize_t size) {
    if (Py_TYPE(reader) != reader_type)
        return 0;
    Reader *self = (Reader *)reader;
    if (!self->layout)
        return 0;
    Record record = {.arrival = arrival, .lag = lag, .size = (uint32_t)size};
    Place start = (Place)data, end = start + size;
    Position last = self->last;
    long long events = 0, tokens = 0;
    if (after_chunk(self->layout, start, end, &last, &events, &tokens) != end || events != 1 ||
        PyByteArray_Size(self->data) + size > self->limit || arrival < last_arrival(self))
        return 0;
    record.tokens = (uint32_t)tokens;
    if (append(self->data, data, size) < 0 || append(self->numbers, &record, sizeof record) < 0)
        return -1;
    self->last = last;
    self->events += events;
    self->tokens += tokens;
    return 1;
}

static PyObject *take(Reader *self, PyObject *const *arguments, Py_ssize_t count) {
    char *data;
    Py_ssize_t size;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "take(arrival_ns, lag_ns, data)");
        return NULL;
    }
    int64_t arrival = PyLong_AsLongLong(arguments[0]), lag = -1;
    if (arguments[1] != Py_None)
        lag = PyLong_AsLongLong(arguments[1]);
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(arguments[2], &data, &size) < 0)
        return NULL;
    int taken = take_read((PyObject *)self, arrival, lag, data, size);
    return taken < 0 ? NULL : PyBool_FromLong(taken);
}

static PyObject *count_chunks(Reader *self, PyObject *const *arguments, Py_ssize_t count) {
    char *data;
    Py_ssize_t size;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "count(data, start)");
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(arguments[1]);
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(arguments[0], &data, &size) < 0)
        return NULL;
    Place place = (Place)data + start, end = (Place)data + size;
    while (self->layout && place < end) {
        Position last = self->last;
        long long events = 0, tokens = 0;
        Place after = after_chunk(self->layout, place, end, &last, &events, &tokens);
        if (!after)
            break;
        place = after;
        self->last = last;
        self->events += events;
        self->tokens += tokens;
    }
    return PyLong_FromSsize_t(place - (Place)data);
}

static PyObject *arm(Reader *self, PyObject *arguments) {
    PyObject *layout, *before = self->layout;
    Position last;
    if (!PyArg_ParseTuple(arguments, "SLL", &layout, &last.ms, &last.seq))
        return NULL;
    if (!self->data)
        Py_RETURN_NONE;
    Py_INCREF(layout);
    self->layout = layout;
    self->last = last;
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

static PyObject *disarm(Reader *self, PyObject *ignored) {
    (void)ignored;
    Py_CLEAR(self->layout);
    Py_RETURN_NONE;
}

static PyObject *close_reader(Reader *self, PyObject *ignored) {
    (void)ignored;
    Py_CLEAR(self->layout);
    Py_CLEAR(self->data);
    Py_CLEAR(self->numbers);
    Py_RETURN_NONE;
}

static PyObject *limit(Reader *self, PyObject *bytes) {
    self->limit = PyLong_AsLongLong(bytes);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *new_reader(PyTypeObject *type, PyObject *arguments, PyObject *names) {
    PyObject *data, *numbers;
    (void)names;
    if (!PyArg_ParseTuple(arguments, "YY", &data, &numbers))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Reader *self = (Reader *)allocate(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(data);
    Py_INCREF(numbers);
    self->data = data;
    self->numbers = numbers;
    return (PyObject *)self;
}

static void deallocate(Reader *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    Py_CLEAR(self->layout);
    Py_CLEAR(self->data);
    Py_CLEAR(self->numbers);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *events(Reader *self, void *ignored) { (void)ignored; return PyLong_FromLongLong(self->events); }
static PyObject *tokens(Reader *self, void *ignored) { (void)ignored; return PyLong_FromLongLong(self->tokens); }
static PyObject *armed(Reader *self, void *ignored) { (void)ignored; return PyBool_FromLong(self->layout != NULL); }
static PyObject *last(Reader *self, void *ignored) {
    (void)ignored;
    return Py_BuildValue("(LL)", self->last.ms, self->last.seq);
}

static PyMethodDef methods[] = {
    {"take", (PyCFunction)(void (*)(void))take, METH_FASTCALL, NULL},
    {"count", (PyCFunction)(void (*)(void))count_chunks, METH_FASTCALL, NULL},
    {"arm", (PyCFunction)arm, METH_VARARGS, NULL},
    {"disarm", (PyCFunction)disarm, METH_NOARGS, NULL},
    {"close", (PyCFunction)close_reader, METH_NOARGS, NULL},
    {"limit", (PyCFunction)limit, METH_O, NULL},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef values[] = {
    {"events", (getter)events, NULL, NULL, NULL},
    {"tokens", (getter)tokens, NULL, NULL, NULL},
    {"armed", (getter)armed, NULL, NULL, NULL},
    {"last", (getter)last, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot type_slots[] = {
    {Py_tp_new, new_reader},   {Py_tp_dealloc, deallocate}, {Py_tp_methods, methods},
    {Py_tp_getset, values},    {Py_tp_doc, "See harness.contract.decoding.token_layout."},
    {0, NULL}};

static PyType_Spec type_spec = {
    "harness.contract.decoding._token_reader.TokenReader", sizeof(Reader), 0, Py_TPFLAGS_DEFAULT, type_slots};

static int execute(PyObject *module) {
    PyObject *type = PyType_FromModuleAndSpec(module, &type_spec, NULL);
    PyObject *function = PyCapsule_New((void *)take_read, "take_read", NULL);
    int result = type && function ? PyModule_AddObjectRef(module, "TokenReader", type) : -1;
    if (result == 0)
        result = PyModule_AddObjectRef(module, "take_read", function);
    Py_XDECREF(function);
    reader_type = (PyTypeObject *)type; /* for as long as the process lives */
    return result;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "harness.contract.decoding._token_reader", NULL, 0, NULL, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__token_reader(void) { return PyModuleDef_Init(&definition); }
