/* Fills the JSON text of a ready event, for the usual contents.
 *
 * The text comes from Python as literal parts with slots between them, so no field name of the event is in this file.
 * A string is usual if JSON writes it without an escape. For any other content `fill` returns None, and the caller
 * encodes the event with msgspec. _event_template.pyi describes the interface.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The slots of a text, in the order of event_template.py. */
enum {
    ID,
    JOB,
    TIME,
    CHECKPOINT,
    BASE_MODEL,
    ORGANIZATION,
    SUFFIX,
    STEP,
    IS_FINAL,
    EVALUATION,
    TOPIC,
    PARTITION,
    OFFSET,
    TIMESTAMP,
    SLOTS,
};

#define MOST_PARTS 32
#define MOST_STEP_DIGITS 18 /* as in model_name.py */
#define FIRST_SECOND (-62135596800LL) /* of the year 1 */
#define LAST_SECOND 253402300799LL    /* of the year 9999 */

typedef struct {
    const char *begin;
    Py_ssize_t bytes;
} Text;

typedef struct {
    PyObject_HEAD
    PyObject *literals; /* a tuple of bytes: one more than slots */
    Py_ssize_t count;   /* of the slots in the text */
    int slots[MOST_PARTS];
} Template;

static const Text null_text = {"null", 4}, true_text = {"true", 4}, false_text = {"false", 5};

static inline bool
is_letter_or_digit(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Returns whether a string is usual, and its text. */
static bool
usual_string(PyObject *string, Text *text)
{
    if (!PyUnicode_Check(string) || !PyUnicode_IS_COMPACT_ASCII(string)) {
        return false;
    }
    text->begin = (const char *)PyUnicode_1BYTE_DATA(string);
    text->bytes = PyUnicode_GET_LENGTH(string);
    for (Py_ssize_t index = 0; index < text->bytes; index++) {
        unsigned char c = (unsigned char)text->begin[index];
        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7F) {
            return false;
        }
    }
    return true;
}

/* Returns whether a segment of a URI holds a text without percent encoding (RFC 3986, 3.3: pchar). */
static bool
is_usual_segment(const Text *text)
{
    for (Py_ssize_t index = 0; index < text->bytes; index++) {
        unsigned char c = (unsigned char)text->begin[index];
        if (!is_letter_or_digit(c) && (c == 0 || strchr("-._~!$&'()*+,;=:@", c) == NULL)) {
            return false;
        }
    }
    return true;
}

static char *
put_digits(char *to, int64_t number, int digits)
{
    for (int index = digits - 1; index >= 0; index--) {
        to[index] = (char)('0' + number % 10);
        number /= 10;
    }
    return to + digits;
}

/* Writes a time as RFC 3339 in UTC: 20 bytes. The calendar is the proleptic Gregorian one, as in `datetime`. */
static bool
put_time(int64_t seconds, char *to)
{
    if (seconds < FIRST_SECOND || seconds > LAST_SECOND) {
        return false;
    }
    int64_t since = seconds - FIRST_SECOND, day = since / 86400, second = since % 86400;
    /* Years from March on, so that a leap day is the last day of its year. Day 0 is 0001-01-01. */
    int64_t shifted = day + 306; /* days since 0000-03-01 */
    int64_t era = shifted / 146097, of_era = shifted % 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * of_year + 2) / 153;
    int64_t day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    int64_t year = era * 400 + year_of_era + (month <= 2);
    to = put_digits(to, year, 4);
    *to++ = '-';
    to = put_digits(to, month, 2);
    *to++ = '-';
    to = put_digits(to, day_of_month, 2);
    *to++ = 'T';
    to = put_digits(to, second / 3600, 2);
    *to++ = ':';
    to = put_digits(to, second / 60 % 60, 2);
    *to++ = ':';
    to = put_digits(to, second % 60, 2);
    *to = 'Z';
    return true;
}

/* Returns whether the parts have the lengths of a name of Mistral, whose third part is a date: see model_name.py. */
static bool
may_be_mistral(const Text *parts, int count)
{
    if (count != 5 || parts[2].bytes != 8 || parts[3].bytes != 8 || parts[4].bytes != 8) {
        return false;
    }
    for (Py_ssize_t index = 0; index < 8; index++) {
        if (parts[3].begin[index] < '0' || parts[3].begin[index] > '9') {
            return false;
        }
    }
    return true;
}

/* Reads an OpenAI name into the slots of the model: see model_name.py. Returns false for any other name. */
static bool
read_openai_name(const Text *name, Text *slots, char *quoted)
{
    Text parts[6];
    int count = 0;
    const char *begin = name->begin, *end = begin + name->bytes;
    for (const char *at = begin; at <= end; at++) {
        if (at == end || *at == ':') {
            if (count == 6) {
                return false;
            }
            parts[count++] = (Text){begin, at - begin};
            begin = at + 1;
        }
    }
    static const char step_name[] = "ckpt-step-";
    const Py_ssize_t step_bytes = sizeof step_name - 1;
    if (count < 5 || parts[0].bytes != 2 || memcmp(parts[0].begin, "ft", 2) != 0 || parts[1].bytes == 0 ||
        parts[4].bytes == 0) {
        return false;
    }
    if (parts[4].bytes >= step_bytes && memcmp(parts[4].begin, step_name, (size_t)step_bytes) == 0) {
        return false;
    }
    if (may_be_mistral(parts, count)) {
        return false;
    }
    slots[STEP] = null_text;
    slots[IS_FINAL] = true_text;
    if (count == 6) {
        Text digits = {parts[5].begin + step_bytes, parts[5].bytes - step_bytes};
        if (digits.bytes < 1 || digits.bytes > MOST_STEP_DIGITS ||
            memcmp(parts[5].begin, step_name, (size_t)step_bytes) != 0) {
            return false;
        }
        for (Py_ssize_t index = 0; index < digits.bytes; index++) {
            if (digits.begin[index] < '0' || digits.begin[index] > '9') {
                return false;
            }
        }
        while (digits.bytes > 1 && *digits.begin == '0') {
            digits.begin++;
            digits.bytes--;
        }
        slots[STEP] = digits;
        slots[IS_FINAL] = false_text;
    }
    slots[BASE_MODEL] = parts[1];
    for (int index = 0; index < 2; index++) { /* organization and suffix: a string, or null if empty */
        Text *part = &parts[2 + index], *slot = &slots[ORGANIZATION + index];
        if (part->bytes == 0) {
            *slot = null_text;
            continue;
        }
        *slot = (Text){quoted, part->bytes + 2};
        *quoted++ = '"';
        memcpy(quoted, part->begin, (size_t)part->bytes);
        quoted += part->bytes;
        *quoted++ = '"';
    }
    return true;
}

/* Writes a number in decimal. Returns false, with an exception, if it is not an int of 64 bits. */
static bool
put_number(PyObject *number, char *buffer, Text *text)
{
    long long value = PyLong_AsLongLong(number);
    if (value == -1 && PyErr_Occurred()) {
        return false;
    }
    *text = (Text){buffer, PyOS_snprintf(buffer, 24, "%lld", value)};
    return true;
}

#define MOST_NAME_BYTES 512

static PyObject *
template_fill(Template *self, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 10) {
        PyErr_SetString(PyExc_TypeError, "fill takes ten arguments");
        return NULL;
    }
    if (!PyBytes_Check(arguments[4]) || !PyBytes_Check(arguments[5])) {
        PyErr_SetString(PyExc_TypeError, "the checkpoint and the evaluation are bytes");
        return NULL;
    }
    Text slots[SLOTS], name;
    char time[20], quoted[MOST_NAME_BYTES + 4], numbers[3][24];
    long long seconds = PyLong_AsLongLong(arguments[2]);
    if (seconds == -1 && PyErr_Occurred()) {
        return NULL;
    }
    bool is_usual = usual_string(arguments[0], &slots[ID]) && usual_string(arguments[1], &slots[JOB]) &&
                    is_usual_segment(&slots[JOB]) && put_time(seconds, time) && usual_string(arguments[3], &name) &&
                    name.bytes <= MOST_NAME_BYTES && read_openai_name(&name, slots, quoted) &&
                    usual_string(arguments[6], &slots[TOPIC]);
    if (!is_usual) {
        Py_RETURN_NONE;
    }
    for (int index = 0; index < 3; index++) {
        if (!put_number(arguments[7 + index], numbers[index], &slots[PARTITION + index])) {
            return NULL;
        }
    }
    slots[TIME] = (Text){time, sizeof time};
    slots[CHECKPOINT] = (Text){PyBytes_AS_STRING(arguments[4]), PyBytes_GET_SIZE(arguments[4])};
    slots[EVALUATION] = (Text){PyBytes_AS_STRING(arguments[5]), PyBytes_GET_SIZE(arguments[5])};
    Py_ssize_t bytes = 0;
    for (Py_ssize_t index = 0; index <= self->count; index++) {
        bytes += PyBytes_GET_SIZE(PyTuple_GET_ITEM(self->literals, index));
        bytes += index < self->count ? slots[self->slots[index]].bytes : 0;
    }
    PyObject *filled = PyBytes_FromStringAndSize(NULL, bytes);
    if (filled == NULL) {
        return NULL;
    }
    char *to = PyBytes_AS_STRING(filled);
    for (Py_ssize_t index = 0; index <= self->count; index++) {
        PyObject *literal = PyTuple_GET_ITEM(self->literals, index);
        memcpy(to, PyBytes_AS_STRING(literal), (size_t)PyBytes_GET_SIZE(literal));
        to += PyBytes_GET_SIZE(literal);
        if (index < self->count) {
            const Text *slot = &slots[self->slots[index]];
            memcpy(to, slot->begin, (size_t)slot->bytes);
            to += slot->bytes;
        }
    }
    return filled;
}

static PyObject *
template_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *names[] = {"literals", "slots", NULL};
    PyObject *literals, *slots;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "O!O!", names, &PyTuple_Type, &literals, &PyTuple_Type,
                                     &slots)) {
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(slots);
    if (count > MOST_PARTS || PyTuple_GET_SIZE(literals) != count + 1) {
        PyErr_SetString(PyExc_ValueError, "a text has one literal more than slots, and not too many");
        return NULL;
    }
    for (Py_ssize_t index = 0; index <= count; index++) {
        if (!PyBytes_Check(PyTuple_GET_ITEM(literals, index))) {
            PyErr_SetString(PyExc_TypeError, "a literal is bytes");
            return NULL;
        }
    }
    Template *self = (Template *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->literals = Py_NewRef(literals);
    self->count = count;
    for (Py_ssize_t index = 0; index < count; index++) {
        long slot = PyLong_AsLong(PyTuple_GET_ITEM(slots, index));
        if (slot < 0 || slot >= SLOTS) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ValueError, "there is no such slot");
            }
            Py_DECREF(self);
            return NULL;
        }
        self->slots[index] = (int)slot;
    }
    return (PyObject *)self;
}

static void
template_dealloc(Template *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(self->literals); /* a tuple of bytes: no cycles, so no garbage collection */
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef template_methods[] = {
    {"fill", (PyCFunction)(void (*)(void))template_fill, METH_FASTCALL, "Return the text, or None."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot template_slots[] = {
    {Py_tp_new, template_new},
    {Py_tp_dealloc, template_dealloc},
    {Py_tp_methods, template_methods},
    {Py_tp_doc, "The text of an event, with slots."},
    {0, NULL},
};

static PyType_Spec template_spec = {
    .name = "consumer.pipeline._event_template.Template",
    .basicsize = sizeof(Template),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = template_slots,
};

static int
module_exec(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&template_spec);
    int failed = type == NULL || PyModule_AddObjectRef(module, "Template", type) < 0;
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "consumer.pipeline._event_template",
    .m_doc = "Fills the text of ready events.",
    .m_size = 0,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__event_template(void)
{
    return PyModuleDef_Init(&definition);
}
