//! The part of Python's pickle language that holds tensors, and nothing of the rest.
//!
//! A pickle is a program for a stack machine that may call any function of any Python module. This machine knows the
//! functions of [`Global`] alone, and those only put their arguments aside: nothing is ever called. What it does not know, it
//! refuses by name. Every instruction makes at most one value, so memory is bounded by the length of the file.

use super::super::tensors::Number;

/// Where a [`Value`] lies in [`Pickle::values`].
pub(super) type Id = usize;

/// The Python objects that files of weights name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Number),
}

/// All of them, by module and name.
const GLOBALS: &[(&str, &str, Global)] = &[
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor", Global::RebuildTensor),
    ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils", "_rebuild_parameter", Global::RebuildParameter),
    ("torch", "DoubleStorage", Global::Storage(Number::F64)),
    ("torch", "FloatStorage", Global::Storage(Number::F32)),
    ("torch", "HalfStorage", Global::Storage(Number::F16)),
    ("torch", "BFloat16Storage", Global::Storage(Number::Bf16)),
    ("torch", "LongStorage", Global::Storage(Number::I64)),
    ("torch", "IntStorage", Global::Storage(Number::I32)),
    ("torch", "ShortStorage", Global::Storage(Number::I16)),
    ("torch", "CharStorage", Global::Storage(Number::I8)),
    ("torch", "ByteStorage", Global::Storage(Number::U8)),
    ("torch", "BoolStorage", Global::Storage(Number::U8)),
];

/// What a pickle can hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A number that no tensor needs: a float, or a whole one of more than 64 bits.
    Number,
    Text(String),
    /// A tuple or a list.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// What the file says of a storage.
    Persistent(Id),
    /// A tensor, by the list of arguments that would build it.
    Tensor(Id),
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle {
    pub values: Vec<Value>,
    pub root: Id,
}

impl Pickle {
    pub fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    pub fn root(&self) -> &Value {
        self.get(self.root)
    }
}

/// Most instructions of one pickle.
const INSTRUCTIONS: usize = 1 << 22;

/// Reads one pickle from the beginning of `bytes`, which then begin after it.
pub(super) fn read(bytes: &mut &[u8]) -> Result<Pickle, String> {
    let mut machine = Machine { bytes, values: vec![], stack: vec![], marks: vec![], memo: Default::default() };
    for _ in 0..INSTRUCTIONS {
        if let Some(root) = machine.step()? {
            return Ok(Pickle { values: machine.values, root });
        }
    }
    Err(format!("its pickle has more than {INSTRUCTIONS} instructions"))
}

struct Machine<'a, 'b> {
    bytes: &'a mut &'b [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: std::collections::HashMap<u32, Id>,
}

impl<'b> Machine<'_, 'b> {
    /// One instruction; the result once there is one.
    fn step(&mut self) -> Result<Option<Id>, String> {
        match self.take(1)?[0] {
            b'.' => return self.pop().map(Some),
            0x80 => {
                let version = self.take(1)?[0];
                if version > 3 {
                    return Err(format!("its pickle has protocol {version}; torch.save writes protocol 2"));
                }
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => self.int(1)?,
            b'M' => self.int(2)?,
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Number);
            }
            b'X' | b'T' => self.text(4)?,
            b'U' => self.text(1)?,
            b'(' => self.marks.push(self.stack.len()),
            b')' | b']' => self.push(Value::List(vec![])),
            b'}' => self.push(Value::Dict(vec![])),
            b't' => {
                let items = self.pop_marked()?;
                self.push(Value::List(items));
            }
            op @ 0x85..=0x87 => {
                let items = self.pop_some(usize::from(op - 0x84))?;
                self.push(Value::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_marked()?;
                self.append(items)?;
            }
            b's' => {
                let items = self.pop_some(2)?;
                self.set(items)?;
            }
            b'u' => {
                let items = self.pop_marked()?;
                self.set(items)?;
            }
            b'q' => self.put(1)?,
            b'r' => self.put(4)?,
            b'h' => self.fetch(1)?,
            b'j' => self.fetch(4)?,
            b'c' => self.global()?,
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            b'R' => self.reduce()?,
            b'b' => self.attributes()?,
            other => {
                let hint = "Convert it to .safetensors, or save a plain state_dict() with torch.save";
                return Err(format!("its pickle has the instruction {other:#04x}, which weights do not need. {hint}"));
            }
        }
        Ok(None)
    }

    fn take(&mut self, n: usize) -> Result<&'b [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or("its pickle ends early: the file is truncated")?;
        *self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("N bytes"))
    }

    /// An unsigned number of up to four bytes.
    fn unsigned(&mut self, bytes: usize) -> Result<u32, String> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b)))
    }

    fn push(&mut self, value: Value) {
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, String> {
        // What lies below a mark belongs to the mark's owner.
        match self.marks.last() {
            Some(&mark) if self.stack.len() <= mark => Err("its pickle takes more from the stack than there is".into()),
            _ => self.stack.pop().ok_or_else(|| "its pickle takes from an empty stack".into()),
        }
    }

    fn pop_some(&mut self, n: usize) -> Result<Vec<Id>, String> {
        let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        Ok(items)
    }

    fn pop_marked(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("its pickle ends a group that it did not begin")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn top(&mut self) -> Result<&mut Value, String> {
        let id = self.pop()?;
        self.stack.push(id);
        Ok(&mut self.values[id])
    }

    fn int(&mut self, bytes: usize) -> Result<(), String> {
        let value = self.unsigned(bytes)?;
        self.push(Value::Int(value.into()));
        Ok(())
    }

    fn long(&mut self) -> Result<(), String> {
        let length = self.unsigned(1)? as usize;
        let bytes = self.take(length)?;
        let value = match bytes.last() {
            _ if length > 8 => Value::Number,
            None => Value::Int(0),
            Some(top) => {
                let mut wide = [if top & 0x80 == 0 { 0 } else { 0xff }; 8];
                wide[..length].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
        };
        self.push(value);
        Ok(())
    }

    fn text(&mut self, prefix: usize) -> Result<(), String> {
        let length = self.unsigned(prefix)? as usize;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "its pickle holds text that is no UTF-8")?;
        self.push(Value::Text(text.to_owned()));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        match self.top()? {
            Value::List(list) => list.extend(items),
            _ => return Err("its pickle appends to something that is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<Id>) -> Result<(), String> {
        let (pairs, rest) = items.as_chunks::<2>();
        match self.top()? {
            Value::Dict(dict) if rest.is_empty() => dict.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return Err("its pickle sets items of something that is no dict".into()),
        }
        Ok(())
    }

    /// Remembers the top of the stack under a number.
    fn put(&mut self, bytes: usize) -> Result<(), String> {
        let key = self.unsigned(bytes)?;
        let id = self.pop()?;
        self.stack.push(id);
        self.memo.insert(key, id);
        Ok(())
    }

    /// Pushes what was remembered.
    fn fetch(&mut self, bytes: usize) -> Result<(), String> {
        let key = self.unsigned(bytes)?;
        let id = self.memo.get(&key).ok_or("its pickle refers to something that it did not make")?;
        self.stack.push(*id);
        Ok(())
    }

    fn global(&mut self) -> Result<(), String> {
        let [module, name] = [self.line()?, self.line()?];
        let known = GLOBALS.iter().find(|(m, n, _)| (*m, *n) == (module, name));
        let (_, _, global) = known.ok_or_else(|| {
            format!("it refers to the Python object `{module}.{name}`, and weights are tensors alone. It was not run. If you trust where it comes from, load it in Python and save its state_dict() as .safetensors")
        })?;
        self.push(Value::Global(*global));
        Ok(())
    }

    fn line(&mut self) -> Result<&'b str, String> {
        let end =
            self.bytes.iter().take(256).position(|&b| b == b'\n').ok_or("its pickle has a name without an end")?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "its pickle has a name that is no UTF-8".into())
    }

    /// What Python would call a function for.
    fn reduce(&mut self) -> Result<(), String> {
        let ids = self.pop_some(2)?;
        let value = match (&self.values[ids[0]], &self.values[ids[1]]) {
            (Value::Global(Global::OrderedDict), Value::List(items)) if items.is_empty() => Value::Dict(vec![]),
            (Value::Global(Global::RebuildTensor), Value::List(_)) => Value::Tensor(ids[1]),
            (Value::Global(Global::RebuildParameter), Value::List(items)) if !items.is_empty() => {
                // The tensor itself: what follows is whether it is trained.
                self.stack.push(items[0]);
                return Ok(());
            }
            _ => return Err("its pickle calls something that builds no tensor".into()),
        };
        self.push(value);
        Ok(())
    }

    /// Attributes of a dict, such as the versions of modules, are not kept.
    fn attributes(&mut self) -> Result<(), String> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) => Ok(()),
            _ => Err("its pickle sets attributes of something that is no dict".into()),
        }
    }
}
