//! The users and sources that a partition has seen, and the latest label of each user. The Python form, with what is
//! stored, is `stream/tables/names.py`. Workspaces, sources and users are numbers everywhere in the core: this is where
//! they get them.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::formats::{put_array, put_int, put_text, shown, Changes, FormatError, Reader};
use crate::mutants::kept;
use crate::small_map::SmallMap;

pub const KIND: u8 = b'n';
const VERSION: u8 = 1;

/// The number of "without a source".
pub const NO_SOURCE: u32 = 0;

/// Texts by number, each once.
pub struct Interned {
    hasher: DefaultHashBuilder,
    numbers: HashTable<u32>,
    texts: Vec<Box<str>>,
}

impl Interned {
    fn new() -> Self {
        Interned { hasher: DefaultHashBuilder::default(), numbers: HashTable::new(), texts: Vec::new() }
    }

    pub fn number_of(&mut self, text: &str) -> u32 {
        let hash = self.hasher.hash_one(text);
        if let Some(&number) = self.numbers.find(hash, |&number| *self.texts[number as usize] == *text) {
            return number;
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.into());
        let (hasher, texts) = (&self.hasher, &self.texts);
        self.numbers.insert_unique(hash, number, |&number| hasher.hash_one(&*texts[number as usize]));
        number
    }

    pub fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}

/// A user's latest label; `offset` is that of the event which moved it last.
struct User {
    /// "" for events without a user.
    id: Box<str>,
    seen: bool,
    moved: bool,
    occurred_at: i64,
    offset: i64,
    label: Option<Box<str>>,
}

struct Workspace {
    /// Whether an event counted in it, or the changelog has it.
    seen: bool,
    /// Users by their id; "" is without one.
    numbers: HashTable<u32>,
    users: Vec<User>,
    /// Users in the order in which they were seen.
    order: Vec<u32>,
    /// Source -> offset of its first sight, in the order of these.
    sources: SmallMap,
}

/// A user's latest label, for a call to Redis.
pub struct UserName<'a> {
    pub workspace: u32,
    pub user_id: Option<&'a str>,
    pub occurred_at: i64,
    pub offset: i64,
    pub label: Option<&'a str>,
}

pub struct Names {
    hasher: DefaultHashBuilder,
    workspace_ids: Interned,
    source_texts: Interned,
    workspaces: Vec<Workspace>,
    /// Workspaces in the order in which they were seen.
    order: Vec<u32>,
    moved_users: Vec<(u32, u32)>,
    moved_sources: Vec<(u32, u32)>,
    /// How many keys the changelog has of them, with what was encoded.
    pub keys: usize,
}

/// What moved since the last commit: (workspace, user) and (workspace, source).
#[derive(Default)]
pub struct Moved {
    pub users: Vec<(u32, u32)>,
    pub sources: Vec<(u32, u32)>,
}

impl Names {
    pub fn new() -> Self {
        let mut source_texts = Interned::new();
        source_texts.number_of(""); // NO_SOURCE
        Names {
            hasher: DefaultHashBuilder::default(),
            workspace_ids: Interned::new(),
            source_texts,
            workspaces: Vec::new(),
            order: Vec::new(),
            moved_users: Vec::new(),
            moved_sources: Vec::new(),
            keys: 0,
        }
    }

    pub fn workspace(&mut self, id: &str) -> u32 {
        let number = self.workspace_ids.number_of(id);
        if number as usize == self.workspaces.len() {
            self.workspaces.push(Workspace {
                seen: false,
                numbers: HashTable::new(),
                users: Vec::new(),
                order: Vec::new(),
                sources: SmallMap::default(),
            });
        }
        number
    }

    pub fn workspace_id(&self, workspace: u32) -> &str {
        self.workspace_ids.text(workspace)
    }

    pub fn workspace_count(&self) -> usize {
        self.workspaces.len()
    }

    pub fn source(&mut self, source: Option<&str>) -> u32 {
        source.map_or(NO_SOURCE, |source| self.source_texts.number_of(source))
    }

    pub fn source_text(&self, source: u32) -> Option<&str> {
        (source != NO_SOURCE).then(|| self.source_texts.text(source))
    }

    /// `user_id`: never empty.
    pub fn user(&mut self, workspace: u32, user_id: Option<&str>) -> u32 {
        let known = &mut self.workspaces[workspace as usize];
        let id = user_id.unwrap_or("");
        let hash = self.hasher.hash_one(id);
        if let Some(&number) = known.numbers.find(hash, |&number| *known.users[number as usize].id == *id) {
            return number;
        }
        let number = known.users.len() as u32;
        let user = User { id: id.into(), seen: false, moved: false, occurred_at: 0, offset: 0, label: None };
        known.users.push(user);
        let (hasher, users) = (&self.hasher, &known.users);
        known.numbers.insert_unique(hash, number, |&number| hasher.hash_one(&*users[number as usize].id));
        number
    }

    pub fn user_id(&self, workspace: u32, user: u32) -> Option<&str> {
        let id = &*self.workspaces[workspace as usize].users[user as usize].id;
        (!id.is_empty()).then_some(id)
    }

    /// Notes that a workspace is counted in. True: for the first time.
    pub fn see_workspace(&mut self, workspace: u32) -> bool {
        let known = &mut self.workspaces[workspace as usize];
        let first = !known.seen;
        if first {
            known.seen = true;
            self.order.push(workspace);
        }
        first
    }

    /// Notes who did it.
    pub fn see_user(&mut self, workspace: u32, user: u32, label: Option<&str>, occurred_at: i64, offset: i64) {
        let names = &mut self.workspaces[workspace as usize];
        let known = &mut names.users[user as usize];
        let label = label.filter(|_| !known.id.is_empty());
        if !known.seen {
            known.seen = true;
            names.order.push(user);
            self.keys += 1;
        } else if label.is_none()
            || (occurred_at < known.occurred_at && known.label.is_some() && kept("label-by-its-time"))
        {
            return;
        }
        (known.occurred_at, known.offset) = (occurred_at, offset);
        if known.label.as_deref() != label {
            known.label = label.map(Into::into);
        }
        if !known.moved {
            known.moved = true;
            self.moved_users.push((workspace, user));
        }
    }

    /// Notes the first event of a source.
    pub fn see_source(&mut self, workspace: u32, source: u32, offset: i64) {
        let sources = &mut self.workspaces[workspace as usize].sources;
        if sources.get(u64::from(source)).is_none() {
            sources.insert(u64::from(source), offset as u64);
            self.moved_sources.push((workspace, source));
            self.keys += 1;
        }
    }

    /// Adds the changelog records of what moved since the last call, and says what it was.
    pub fn encode(&mut self, changes: &mut Changes) -> Moved {
        let moved =
            Moved { users: std::mem::take(&mut self.moved_users), sources: std::mem::take(&mut self.moved_sources) };
        for &(workspace, user) in &moved.users {
            let known = &mut self.workspaces[workspace as usize].users[user as usize];
            known.moved = false;
            let mut value = Vec::new();
            put_array(&mut value, 4);
            value.push(VERSION);
            put_int(&mut value, known.occurred_at);
            put_int(&mut value, known.offset);
            put_text(&mut value, known.label.as_deref());
            changes.push((key(self.workspace_ids.text(workspace), b'u', &known.id), Some(value)));
        }
        for &(workspace, source) in &moved.sources {
            let offset = self.workspaces[workspace as usize].sources.get(u64::from(source)).unwrap_or(0);
            let mut value = Vec::new();
            put_array(&mut value, 2);
            value.push(VERSION);
            put_int(&mut value, offset as i64);
            let name = self.source_texts.text(source);
            changes.push((key(self.workspace_ids.text(workspace), b's', name), Some(value)));
        }
        moved
    }

    pub fn user_name(&self, workspace: u32, user: u32) -> UserName<'_> {
        let known = &self.workspaces[workspace as usize].users[user as usize];
        UserName {
            workspace,
            user_id: (!known.id.is_empty()).then_some(&*known.id),
            occurred_at: known.occurred_at,
            offset: known.offset,
            label: known.label.as_deref(),
        }
    }

    /// The users whose label moved last, and the sources that were first seen, at an offset above this one.
    pub fn after(&self, offset: i64) -> Moved {
        let mut moved = Moved::default();
        for &workspace in &self.order {
            let known = &self.workspaces[workspace as usize];
            for &user in &known.order {
                if known.users[user as usize].offset > offset {
                    moved.users.push((workspace, user));
                }
            }
            for &(source, seen) in known.sources.items() {
                if seen as i64 > offset {
                    moved.sources.push((workspace, source as u32));
                }
            }
        }
        moved
    }

    /// The workspaces seen, in the order in which they were.
    pub fn seen(&self) -> &[u32] {
        &self.order
    }

    /// Takes a record of the changelog.
    pub fn adopt(&mut self, stored_key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        let fault = || FormatError(format!("{} is no name's key", shown(stored_key)));
        let text = std::str::from_utf8(&stored_key[1..]).map_err(|_| fault())?;
        let (workspace, rest) = text.split_once('\0').ok_or_else(fault)?;
        let workspace = self.workspace(workspace);
        self.see_workspace(workspace);
        let mut from = Reader::versioned(value, VERSION, stored_key)?;
        self.keys += 1;
        if let Some(user) = rest.strip_prefix('u') {
            let number = self.user(workspace, (!user.is_empty()).then_some(user));
            let (occurred_at, offset, label) = (from.int()?, from.int()?, from.text()?);
            let names = &mut self.workspaces[workspace as usize];
            let known = &mut names.users[number as usize];
            if !known.seen {
                known.seen = true;
                names.order.push(number);
            }
            (known.occurred_at, known.offset, known.label) = (occurred_at, offset, label.map(Into::into));
        } else if let Some(source) = rest.strip_prefix('s') {
            let number = self.source((!source.is_empty()).then_some(source));
            let offset = from.int()?;
            self.workspaces[workspace as usize].sources.insert(u64::from(number), offset as u64);
        } else {
            return Err(fault());
        }
        Ok(())
    }
}

fn key(workspace: &str, kind: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(3 + workspace.len() + name.len());
    key.push(KIND);
    key.extend_from_slice(workspace.as_bytes());
    key.push(0);
    key.push(kind);
    key.extend_from_slice(name.as_bytes());
    key
}
