// Names that the authoring CLI imports; nothing of them is called by `validate`.
const absent = () => {
  throw new Error("This is a placeholder: there is no Power BI Desktop here.");
};
export const METHODS = {};
export const openDesktop = absent;
export const resolveReportDir = absent;
export const getMethodNames = absent;
export const isDesktopBridgeError = () => false;
export const normalizeReportFolder = absent;
export const reportFoldersEqual = absent;
export const readDesktopStatus = absent;
export const openSession = absent;
export const resolveInstanceForReportFolder = absent;
