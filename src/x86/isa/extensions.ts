/** System and odd integer extensions that are not built: XSAVE, virtualization, transactions, keys, cache hints.
 *
 * Most belong to features that x86/cpuid.ts does not list, hence never shows: they give #UD. They stand here so that the
 * decoder knows them, its oracle can compare them, and building one starts from its row.
 * Follows: SDM Vol. 2 and 3C; AMD64 Manual Vol. 3.   Next: x86/isa/vex.ts. */
import type { Form } from './types.ts';
import { type Column, unbuilt, unbuiltByDigit, unbuiltByModrm } from './unbuilt.ts';

const only = (prefix: Column[0], feature: string): Column[] => [[prefix, feature]];

// biome-ignore format: tables
export const extensions: Form[] = [
  // With REX.W the names end in 64.
  ...unbuiltByDigit(['np', 'XSAVE'], 'M', `
    0f ae mem:  - - - - xsave xrstor xsaveopt -
    0f c7 mem:  - - - xrstors xsavec xsaves - -`),
  ...unbuiltByDigit(['66', 'CLWB'], 'M', '0f ae mem: - - - - - - clwb clflushopt'),
  ...unbuiltByDigit(['f3', 'CET'], 'M', '0f ae mem: - - - - - - clrssbsy -'),
  ...unbuiltByDigit(['f3', 'PTWRITE'], 'Ey', '0f ae: - - - - ptwrite'),
  ...unbuiltByDigit(['f3', 'CET'], 'Ey', '0f ae mod3: - - - - - incsspd'),
  ...unbuiltByDigit(['66', 'WAITPKG'], 'Ey', '0f ae mod3: - - - - - - tpause'),
  ...unbuiltByDigit(['f3', 'WAITPKG'], 'Ey', '0f ae mod3: - - - - - - umonitor'),
  ...unbuiltByDigit(['f2', 'WAITPKG'], 'Ey', '0f ae mod3: - - - - - - umwait'),
  // VMX and SVM
  ...unbuiltByDigit(['np', 'VMX'], 'M', '0f c7 mem: - - - - - - vmptrld vmptrst'),
  ...unbuiltByDigit(['66', 'VMX'], 'M', '0f c7 mem: - - - - - - vmclear'),
  ...unbuiltByDigit(['f3', 'VMX'], 'M', '0f c7 mem: - - - - - - vmxon'),
  ...unbuilt(only('np', 'VMX'), 'Ey,Gy', '0f 78: vmread'),
  ...unbuilt(only('np', 'VMX'), 'Gy,Ey', '0f 79: vmwrite'),
  ...unbuilt(only('66', 'VMX'), 'Gy,M', `
    0f 38 80 mem: invept
    0f 38 81 mem: invvpid`),
  ...unbuilt(only('66', 'INVPCID'), 'Gy,M', '0f 38 82 mem: invpcid'),
  ...unbuiltByModrm(['np', 'VMX'], '0f 01 c2: vmlaunch vmresume vmxoff'),
  ...unbuiltByModrm(['np', 'VMX'], '0f 01 d4: vmfunc'),
  ...unbuiltByModrm(['', 'SVM'], '0f 01 da: vmload vmsave stgi clgi skinit invlpga'),
  // On a CPU without encrypted guests VMGEXIT is VMMCALL with a prefix that means nothing.
  ...unbuiltByModrm(['f3', 'SEV_ES'], '0f 01 d9: vmgexit'),
  ...unbuiltByModrm(['f2', 'SEV_ES'], '0f 01 d9: vmgexit'),
  ...unbuiltByModrm(['np', 'INVLPGB'], '0f 01 fe: invlpgb tlbsync'),
  ...unbuiltByModrm(['f3', 'SNP'], '0f 01 fe: rmpadjust psmash', 64),
  ...unbuiltByModrm(['f2', 'SNP'], '0f 01 fe: rmpupdate', 64),
  ...unbuiltByModrm(['f2', 'SNP'], '0f 01 ff: pvalidate'),
  // Monitors, keys, enclaves, transactions
  ...unbuiltByModrm(['np', 'SGX'], `
    0f 01 c0: enclv
    0f 01 cf: encls
    0f 01 d7: enclu`),
  ...unbuiltByModrm(['np', 'PCONFIG'], '0f 01 c5: pconfig'),
  ...unbuiltByModrm(['np', 'RTM'], '0f 01 d5: xend xtest'),
  ...unbuiltByModrm(['np', 'SERIALIZE'], '0f 01 e8: serialize'),
  ...unbuiltByModrm(['f2', 'TSXLDTRK'], '0f 01 e8: xsusldtrk xresldtrk'),
  ...unbuiltByModrm(['f3', 'CET'], '0f 01 e8: setssbsy - saveprevssp'),
  ...unbuiltByDigit(['f3', 'CET'], 'M', '0f 01 mem: - - - - - rstorssp'),
  ...unbuiltByModrm(['np', 'PKU'], '0f 01 ee: rdpkru wrpkru'),
  ...unbuiltByModrm(['np', 'MONITORX'], '0f 01 fa: monitorx'),
  ...unbuiltByModrm(['np', 'MONITORX'], '0f 01 fb: mwaitx'),
  ...unbuiltByModrm(['f3', 'MCOMMIT'], '0f 01 fa: mcommit'),
  ...unbuiltByModrm(['', 'CLZERO'], '0f 01 fc: clzero'),
  ...unbuiltByModrm(['np', 'RDPRU'], '0f 01 fd: rdpru'),
  ...unbuilt(only('np', 'SMX'), '', '0f 37: getsec'),
  ...unbuilt(only('', 'RTM'), 'Ib', 'c6 /7 mod3 f8: xabort'),
  ...unbuilt(only('', 'RTM'), 'Iz', 'c7 /7 mod3 f8: xbegin'),
  // Stores, carries and hints
  ...unbuilt(only('f3', 'WBNOINVD'), '', '0f 09: wbnoinvd'),
  ...unbuilt(only('np', 'MOVDIRI'), 'My,Gy', '0f 38 f9 mem: movdiri'),
  ...unbuilt([['66', 'MOVDIR64B'], ['f3', 'ENQCMD'], ['f2', 'ENQCMD']], 'Gy,M', '0f 38 f8 mem: movdir64b enqcmds enqcmd'),
  ...unbuilt([['np', 'CET'], ['66', 'ADX'], ['f3', 'ADX']], 'Gy,Ey', `
    0f 38 f6 mem:  wrssd adcx adox
    0f 38 f6 mod3: -     adcx adox`),
  ...unbuilt(only('66', 'CET'), 'My,Gy', '0f 38 f5 mem: wrussd'),
  ...unbuilt(only('', '3DNOW'), '', '0f 0e: femms'),
  // The operation is in the byte behind the operands.
  ...unbuilt(only('', '3DNOW'), 'P,Q,Ib', '0f 0f: 3dnow'),
];
