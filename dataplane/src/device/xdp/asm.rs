//! BPF instructions, assembled in memory: just those that [`super::steer`] needs.
//!
//! ```text
//!   | code u8 | source:4 destination:4 | offset i16 | immediate i32 |     eight bytes each; loads of a map take two
//! ```
//!
//! Pure: what comes out is a list of instructions; nobody but the kernel's verifier has to believe it. Jumps go forward
//! to labels, so no program made here can loop.

/// One instruction as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    pub code: u8,
    /// Source register in the high half, destination in the low one.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(pub u8);

/// How much a load takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Byte,
    Half,
    Word,
}

/// A place that jumps go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

#[derive(Debug, Default)]
pub struct Asm {
    insns: Vec<Insn>,
    jumps: Vec<(usize, Label)>,
    places: Vec<Option<usize>>,
}

impl Asm {
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Jumps to `label` arrive here.
    pub fn place(&mut self, label: Label) {
        assert!(self.places[label.0].is_none());
        self.places[label.0] = Some(self.insns.len());
    }

    pub fn copy(&mut self, to: Reg, from: Reg) {
        self.push(ALU64 | MOV | REGISTER, to, from, 0, 0);
    }

    pub fn set(&mut self, to: Reg, value: i32) {
        self.push(ALU64 | MOV, to, ZERO, 0, value);
    }

    pub fn add(&mut self, to: Reg, value: i32) {
        self.push(ALU64 | ADD, to, ZERO, 0, value);
    }

    pub fn add_register(&mut self, to: Reg, from: Reg) {
        self.push(ALU64 | ADD | REGISTER, to, from, 0, 0);
    }

    pub fn and(&mut self, to: Reg, mask: i32) {
        self.push(ALU64 | AND, to, ZERO, 0, mask);
    }

    pub fn shift_left(&mut self, to: Reg, bits: i32) {
        self.push(ALU64 | SHIFT_LEFT, to, ZERO, 0, bits);
    }

    /// `to = *(from + offset)`, in the machine's byte order, the rest of `to` zero.
    pub fn load(&mut self, width: Width, to: Reg, from: Reg, offset: i16) {
        let width = match width {
            Width::Word => 0x00,
            Width::Half => 0x08,
            Width::Byte => 0x10,
        };
        self.push(LOAD | FROM_MEMORY | width, to, from, offset, 0);
    }

    /// `to` becomes the map behind this descriptor.
    pub fn load_map(&mut self, to: Reg, descriptor: i32) {
        self.push(LOAD_WIDE, to, Reg(PSEUDO_MAP), 0, descriptor);
        self.push(0, ZERO, ZERO, 0, 0);
    }

    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(JUMP | ALWAYS, ZERO, ZERO, 0, 0);
    }

    /// Compares 32 bits: an immediate would otherwise be widened with its sign.
    pub fn jump_if_equal(&mut self, a: Reg, value: i32, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(JUMP32 | EQUAL, a, ZERO, 0, value);
    }

    pub fn jump_if_other(&mut self, a: Reg, value: i32, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(JUMP32 | NOT_EQUAL, a, ZERO, 0, value);
    }

    /// Compares addresses.
    pub fn jump_if_above(&mut self, a: Reg, b: Reg, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(JUMP | ABOVE | REGISTER, a, b, 0, 0);
    }

    /// Calls a function of the kernel: arguments in registers 1 to 5, result in 0.
    pub fn call(&mut self, function: i32) {
        self.push(JUMP | CALL, ZERO, ZERO, 0, function);
    }

    pub fn exit(&mut self) {
        self.push(JUMP | EXIT, ZERO, ZERO, 0, 0);
    }

    /// The program, with every jump at its place.
    pub fn finish(mut self) -> Vec<Insn> {
        for (at, label) in &self.jumps {
            let place = self.places[label.0].expect("every label that is jumped to has a place");
            assert!(place > *at);
            let distance = place - at - 1;
            self.insns[*at].offset = i16::try_from(distance).expect("our programs are short");
        }
        self.insns
    }

    fn push(&mut self, code: u8, to: Reg, from: Reg, offset: i16, immediate: i32) {
        self.insns.push(Insn { code, registers: from.0 << 4 | to.0, offset, immediate });
    }
}

const ZERO: Reg = Reg(0);

const LOAD_WIDE: u8 = 0x18;
const LOAD: u8 = 0x01;
const FROM_MEMORY: u8 = 0x60;
const JUMP: u8 = 0x05;
const JUMP32: u8 = 0x06;
const ALU64: u8 = 0x07;
const REGISTER: u8 = 0x08;
const ADD: u8 = 0x00;
const AND: u8 = 0x50;
const SHIFT_LEFT: u8 = 0x60;
const MOV: u8 = 0xb0;
const ALWAYS: u8 = 0x00;
const EQUAL: u8 = 0x10;
const ABOVE: u8 = 0x20;
const NOT_EQUAL: u8 = 0x50;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const PSEUDO_MAP: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(insns: &[Insn]) -> Vec<[u8; 8]> {
        insns
            .iter()
            .map(|insn| {
                let [o0, o1] = insn.offset.to_le_bytes();
                let [i0, i1, i2, i3] = insn.immediate.to_le_bytes();
                [insn.code, insn.registers, o0, o1, i0, i1, i2, i3]
            })
            .collect()
    }

    /// Goal: each instruction has the bytes that the instruction set (RFC 9669) gives it. Method: one of each.
    #[test]
    fn instructions_are_those_of_rfc_9669() {
        let mut asm = Asm::default();
        let end = asm.label();
        asm.copy(Reg(6), Reg(1));
        asm.set(Reg(0), -2);
        asm.add(Reg(4), 34);
        asm.add_register(Reg(4), Reg(5));
        asm.and(Reg(5), 0x0f);
        asm.shift_left(Reg(5), 2);
        asm.load(Width::Word, Reg(2), Reg(1), 4);
        asm.load(Width::Half, Reg(5), Reg(2), 12);
        asm.load(Width::Byte, Reg(5), Reg(2), -1);
        asm.jump_if_above(Reg(4), Reg(3), end);
        asm.jump_if_equal(Reg(5), 6, end);
        asm.jump_if_other(Reg(5), 0x0008, end);
        asm.load_map(Reg(1), 7);
        asm.jump(end);
        asm.call(51);
        asm.place(end);
        asm.exit();
        let expected = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0xb7, 0x00, 0, 0, 0xfe, 0xff, 0xff, 0xff],
            [0x07, 0x04, 0, 0, 34, 0, 0, 0],
            [0x0f, 0x54, 0, 0, 0, 0, 0, 0],
            [0x57, 0x05, 0, 0, 0x0f, 0, 0, 0],
            [0x67, 0x05, 0, 0, 2, 0, 0, 0],
            [0x61, 0x12, 4, 0, 0, 0, 0, 0],
            [0x69, 0x25, 12, 0, 0, 0, 0, 0],
            [0x71, 0x25, 0xff, 0xff, 0, 0, 0, 0],
            [0x2d, 0x34, 6, 0, 0, 0, 0, 0],
            [0x16, 0x05, 5, 0, 6, 0, 0, 0],
            [0x56, 0x05, 4, 0, 8, 0, 0, 0],
            [0x18, 0x11, 0, 0, 7, 0, 0, 0],
            [0x00, 0x00, 0, 0, 0, 0, 0, 0],
            [0x05, 0x00, 1, 0, 0, 0, 0, 0],
            [0x85, 0x00, 0, 0, 51, 0, 0, 0],
            [0x95, 0x00, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(bytes(&asm.finish()), expected);
    }
}
